"""The routes of the page, one router for each section."""

from fastapi import APIRouter

from service.console.system import (
    alerts,
    audit,
    deliveries,
    drift,
    keys,
    overview,
    storage,
    versions,
)

router = APIRouter()
router.include_router(overview.router)
router.include_router(deliveries.router)
router.include_router(keys.router)
router.include_router(audit.router)
router.include_router(drift.router)
router.include_router(storage.router)
router.include_router(versions.router)
router.include_router(alerts.router)
