"""The routes of the page."""

from fastapi import APIRouter

router = APIRouter()
