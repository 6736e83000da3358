"""Who may ask: names and origins a request may carry, and the headers that every response does."""

from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openeurollm.serve.request import ApiError

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to `host`."""
    return host.lower() in LOOPBACK or host.startswith("127.")


class Guard:
    """Stands before an application: refuses foreign hosts and origins, puts the security headers on every response.

    Bound to a loopback `host` only loopback names are served, against DNS rebinding: a page whose name was made to
    point here would else be of the same origin. `close` is what to call before the server stops.
    """

    def __init__(self, app: ASGIApp, host: str, policy: str, close: Callable[[], None]) -> None:
        self._app, self.close = app, close
        self._hosts = LOOPBACK | {host.lower()} if is_loopback(host) else None
        self._headers = [
            (b"content-security-policy", policy.encode("ascii")),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"cache-control", b"no-store"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self._headers]
            await send(message)

        refusal = self._refusal(Request(scope))
        if refusal is not None:
            await JSONResponse(refusal.body(), refusal.status)(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)

    def _refusal(self, request: Request) -> ApiError | None:
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if self._hosts is not None and ("@" in host or _hostname(f"//{host}") not in self._hosts):
            return ApiError(403, "this server answers only under this machine's own name", "host_not_allowed")
        if origin is not None and _netloc(origin) != host.lower():
            return ApiError(403, "pages of other sites may not use this server", "origin_not_allowed")
        return None


def _hostname(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _netloc(address: str) -> str:
    try:
        return urlsplit(address).netloc.lower()
    except ValueError:
        return ""
