"""The page /docs, with all its files served here: a factory has no internet."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.openapi import DESCRIPTION
from service.http.declaration import Access, declares

_PAGE = "/docs"
_REDIRECT = "/docs/oauth2-redirect"
_ASSETS = "/docs/assets"
_LOADED = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")
# The page of Swagger UI has an inline script, which sets inline styles.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; frame-ancestors 'none'"
)


def documented_app(
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]], version: str
) -> FastAPI:
    """Return an application that serves /docs and its OpenAPI document."""
    app = FastAPIOffline(
        docs_url=_PAGE,
        redoc_url=None,
        redirect_slashes=False,  # a redirect has no decision
        static_url=_ASSETS,
        swagger_ui_oauth2_redirect_url=_REDIRECT,
        title="MambaAD inspection service",
        version=version,
        description=DESCRIPTION,
        lifespan=lifespan,
    )
    _declare(app)
    return app


def _declare(app: FastAPI) -> None:
    """Declare the routes that FastAPI added."""
    routes = app.router.routes
    for index, route in enumerate(routes):
        if isinstance(route, Mount):
            routes[index] = Mount(route.path, app=_Assets(route.app), name=route.name)
        elif isinstance(route, Route):
            # The redirect is for OAuth logins, which the service does not use.
            access = Access.KEYED if route.path == _REDIRECT else Access.OPEN
            policy = _POLICY if route.path in {_PAGE, _REDIRECT} else None
            declares(access=access, page_policy=policy)(route.endpoint)


@declares(page_policy=_POLICY)
class _Assets:
    """ASGI application for the page's files; those that the page loads need no key."""

    def __init__(self, files: ASGIApp) -> None:
        self._files = files
        asset = declares(access=Access.OPEN, page_policy=_POLICY)(partial(files))
        self.routes = [Route(f"/{name}", asset) for name in _LOADED]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._files(scope, receive, send)
