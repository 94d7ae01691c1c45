"""One request of a browser: its session, its language, what its caller may do."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote, urlsplit

from fastapi import Depends, Request, Response
from starlette.responses import HTMLResponse, RedirectResponse

from service.access.guard import Caller
from service.access.sessions import Session
from service.api.requests import read_body
from service.console.console import Console, console_of
from service.console.languages import LANGUAGES, Language, choose
from service.errors import InvalidRequest, ServiceError
from service.http.declaration import Scope, includes

LANGUAGE_COOKIE = "mambaad_language"
THEME_COOKIE = "mambaad_theme"
THEMES = ("system", "light", "dark")
TOKEN_HEADER = "X-CSRF-Token"
TRYING = (Scope.DETECT, Scope.REVIEW, Scope.ADMIN)
READING = (Scope.READ,)
REVIEWING = (Scope.REVIEW,)
CHANGING = (Scope.ADMIN,)

_MAX_FORM_BYTES = 8192
_MAX_FIELDS = 20
_CHOICE_LIFE_S = 365 * 86_400


@dataclass(frozen=True, slots=True)
class Visit:
    """A browser's request; without a caller it is of a page that is open."""

    request: Request
    console: Console
    session: Session
    language: Language
    theme: str
    caller: Caller | None

    def may(self, scopes: Collection[Scope]) -> bool:
        """Return whether the caller has one of the scopes."""
        return self.caller is not None and includes(self.caller.scopes, scopes)

    def page(self, template: str, status_code: int = 200, **values: object) -> Response:
        """Return a page; it counts as a click of its session."""
        response = HTMLResponse(self.html(template, **values), status_code)
        for name, value in self._headers().items():
            response.headers[name] = value
        self.renew(response)
        return response

    def part(self, template: str, **values: object) -> Response:
        """Return a part of a page that a script asks for: no click."""
        return HTMLResponse(self.html(template, **values), headers=self._headers())

    def redirect(self, address: str) -> Response:
        """Send the browser to an address of this service, with GET."""
        return RedirectResponse(self.root + address, 303, self._headers())

    def html(self, template: str, **values: object) -> str:
        """Return a template's HTML."""
        return self.console.pages.render(template, self.language, {**self._values(), **values})

    @property
    def root(self) -> str:
        """The path below which a proxy serves the service."""
        root: str = self.request.scope.get("root_path", "")
        return root.rstrip("/")

    @property
    def is_known(self) -> bool:
        """Whether the session lasts, or its caller needs none."""
        try:
            self.console.sessions.identify(self.request.scope)
        except ServiceError:
            return False
        return True

    @property
    def wants_html(self) -> bool:
        """Whether a person will see the answer, instead of a program or a picture's place."""
        return "text/html" in self.request.headers.get("accept", "") or self.is_partial

    @property
    def is_partial(self) -> bool:
        """Whether htmx asks for a part of a page."""
        return "hx-request" in self.request.headers

    def check_token(self, given: str | None = None) -> None:
        """Raise `Forbidden` unless the request repeats the session's token."""
        in_header = self.request.headers.get(TOKEN_HEADER, "")
        self.request.state.has_old_token = True  # the page of a refusal says so
        self.console.sessions.check_token(self.session, given or in_header)
        self.request.state.has_old_token = False

    async def form(self) -> Mapping[str, str]:
        """Return the fields of a small form. Raises `InvalidRequest` or `Forbidden`."""
        body = await read_body(self.request, _MAX_FORM_BYTES)
        try:
            pairs = parse_qsl(
                body.decode("ascii"), keep_blank_values=True, max_num_fields=_MAX_FIELDS
            )
        except ValueError as error:
            raise InvalidRequest(f"expected a form of at most {_MAX_FIELDS} fields") from error
        fields = dict(pairs)
        self.check_token(fields.get("token"))
        return fields

    def set_session(self, response: Response, session: Session) -> None:
        """Give the browser a session's cookie."""
        sessions = self.console.sessions
        response.set_cookie(
            sessions.cookie_name,
            sessions.write(session),
            max_age=int(self.console.settings.cookie_life_s),
            path=self.root or "/",
            secure=self._is_secure,
            httponly=True,
            samesite="lax",
        )

    def set_choice(self, response: Response, cookie: str, value: str) -> None:
        """Keep a choice of this browser, which is no secret."""
        response.set_cookie(
            cookie, value, max_age=_CHOICE_LIFE_S, path=self.root or "/",
            secure=self._is_secure, httponly=True, samesite="lax",
        )  # fmt: skip

    def end_session(self, response: Response) -> None:
        """Take the session's cookie away."""
        response.delete_cookie(self.console.sessions.cookie_name, path=self.root or "/")

    @property
    def _is_secure(self) -> bool:
        return self.request.scope.get("scheme") == "https"

    def renew(self, response: Response) -> None:
        """Count the request as a click of its session."""
        if self.session.is_signed_in and self.caller is None:
            return  # a page that is open to all must not revive a session that has ended
        renewed = self.console.sessions.renewed(self.session)
        if renewed is not None:
            self.set_session(response, renewed)

    def _headers(self) -> dict[str, str]:
        return {
            "Content-Security-Policy": self.console.policy,
            "Vary": "Cookie, Accept-Language",
            # With "no-referrer", browsers send forms as if they came from another site's page.
            "Referrer-Policy": "same-origin",
        }

    def _here(self, path: str) -> str:
        """Return the page's address; a page that answers a form has none to come back to."""
        if self.request.method != "GET":
            return "/"
        query: str = self.request.scope["query_string"].decode("ascii", "replace")
        return path + (f"?{query}" if query else "")

    def _values(self) -> dict[str, Any]:
        path: str = self.request.scope["path"]
        return {
            "root": self.root,
            "path": path,
            "here": self._here(path),
            "token": self.console.sessions.token_of(self.session),
            "theme": self.theme,
            "themes": THEMES,
            "languages": list(LANGUAGES.values()),
            "caller": self.caller.name if self.session.is_signed_in and self.caller else None,
            "can_sign_in": self.console.sessions.has_keys,
            "may_try": self.may(TRYING),
            "may_read": self.may(READING),
            "may_review": self.may(REVIEWING),
            "may_change": self.may(CHANGING),
            "has_archive": self.request.app.state.archive is not None,
        }


def visit_of(request: Request) -> Visit:
    """Return a request's visit."""
    console = console_of(request)
    language = choose(
        request.cookies.get(LANGUAGE_COOKIE, ""),
        request.headers.get("accept-language", ""),
        console.settings.language,
    )
    theme = request.cookies.get(THEME_COOKIE, "")
    return Visit(
        request,
        console,
        console.sessions.of(request.scope),
        language,
        theme if theme in THEMES else THEMES[0],
        request.scope["state"].get("caller"),
    )


async def _visit(request: Request) -> Visit:  # async: else it would run in a thread
    return visit_of(request)


VisitDependency = Annotated[Visit, Depends(_visit)]


def local_address(text: str) -> str:
    """Return a path of this service with its query; "/" for any other address.

    >>> local_address("/console/history?told=NG"), local_address("//elsewhere.example/")
    ('/console/history?told=NG', '/')
    """
    parts = urlsplit(text if text.isprintable() and "\\" not in text else "/")
    if parts.scheme or parts.netloc or not text.startswith("/") or text.startswith("//"):
        return "/"
    return quote(parts.path, "/%") + (f"?{parts.query}" if parts.query else "")
