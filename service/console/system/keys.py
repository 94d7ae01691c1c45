"""API keys: who has which, and withdrawing one. No secret and no hash is shown."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from service.access.guard import Guard
from service.access.keys import ApiKey, KeysUnusable, read_keys, remove_key, without_key
from service.api.service import Service, ServiceDependency
from service.console.changes import author_of
from service.console.visits import CHANGING, Visit, VisitDependency
from service.errors import Conflict
from service.http.declaration import Scope, declares
from service.versions.state import AuditRecord

if TYPE_CHECKING:
    from service.shared.sharing import Sharing

router = APIRouter()

_ADDRESS = "/console/system/keys"

_Name = Annotated[str, Path(max_length=64)]
_Withdrawn = Annotated[str, Query(max_length=64)]


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key; withdrawing one that locks people out needs a confirmation."""

    name: str
    scopes: Sequence[str]
    rate_per_s: float | None
    created: datetime | None
    last_used: datetime | None
    is_own: bool
    is_last_admin: bool

    @property
    def needs_confirmation(self) -> bool:
        """Whether withdrawing it ends this session, or leaves nobody who may change anything."""
        return self.is_own or self.is_last_admin


@dataclass(frozen=True, slots=True)
class KeysView:
    """The file of keys: None if none is configured; `fault` says why it cannot be read.

    `is_shared` says that the keys are those of all nodes, in a PostgreSQL.
    """

    file: FilePath | None
    is_writable: bool
    keys: Sequence[KeyView]
    fault: str = ""
    is_shared: bool = False


@router.get(_ADDRESS)
@declares(is_page=True, scope=CHANGING)
async def page(request: Request, visit: VisitDependency, withdrawn: _Withdrawn = "") -> Response:
    """List the keys."""
    keys = await asyncio.to_thread(_read, request, visit)
    return visit.page("system_keys.html", section="keys", found=keys, withdrawn=withdrawn)


@router.post(_ADDRESS + "/{name}/withdraw")
@declares(is_page=True, scope=CHANGING)
async def withdraw(
    request: Request, visit: VisitDependency, service: ServiceDependency, name: _Name
) -> Response:
    """Remove a key from the file; its sessions and requests end within a second."""
    fields = await visit.form()
    author = author_of(visit, fields)
    found = await asyncio.to_thread(_read, request, visit)
    key = next((key for key in found.keys if key.name == name), None)
    if key is None:
        raise Conflict(found.fault or f"there is no key named {name!r}")
    if key.needs_confirmation and fields.get("confirmed") != "yes":
        raise Conflict(
            f"{name!r} is the key of this session, or the last one with the scope admin: "
            "confirm that it shall be withdrawn"
        )
    scopes = ", ".join(key.scopes)
    if service.sharing is not None:
        withdraw_shared = partial(_withdraw_shared, service.sharing, name=name)
        await service.rollout.change("key-withdrawn", name, author, withdraw_shared, scopes=scopes)
    else:
        assert found.file is not None, "it has the key"
        make = partial(_remove, found.file, name)
        await service.rollout.record("key-withdrawn", name, author, make, scopes=scopes)
    return visit.redirect(f"{_ADDRESS}?withdrawn={name}")


def _withdraw_shared(sharing: "Sharing", record: AuditRecord, *, name: str) -> None:
    try:
        sharing.deployment.change_keys(record, partial(without_key, name=name))
    except KeysUnusable as error:
        raise Conflict(f"the key was not withdrawn: {error}") from error


def _remove(file: FilePath, name: str) -> None:
    try:
        remove_key(file, name)
    except KeysUnusable as error:
        raise Conflict(f"the key was not withdrawn: {error}") from error


def _read(request: Request, visit: Visit) -> KeysView:
    """Read the file, which may be newer than the keys that the service has checked."""
    guard: Guard = request.app.state.guard
    own = visit.caller.name if visit.caller else ""
    service: Service = request.app.state.service
    if service.sharing is not None:
        shared = _views(service.sharing.keys.keys, guard, own)
        return KeysView(None, is_writable=True, keys=shared, is_shared=True)
    file: FilePath | None = request.app.state.settings.access.api_keys_file
    if file is None:
        return KeysView(None, is_writable=False, keys=())
    is_writable = os.access(file, os.W_OK) and os.access(file.absolute().parent, os.W_OK)
    try:
        keys = read_keys(file)
    except KeysUnusable as error:
        return KeysView(file, is_writable, (), str(error))
    return KeysView(file, is_writable, _views(keys, guard, own))


def _views(keys: Sequence[ApiKey], guard: Guard, own: str) -> list[KeyView]:
    admins = [key for key in keys if Scope.ADMIN in key.scopes]
    return [_view(key, guard, own, admins) for key in keys]


def _view(key: ApiKey, guard: Guard, own: str, admins: Sequence[ApiKey]) -> KeyView:
    return KeyView(
        key.name,
        sorted(scope.value for scope in key.scopes),
        key.rate_per_s,
        key.created,
        guard.last_used(key),
        is_own=key.name == own,
        is_last_admin=admins == [key],
    )
