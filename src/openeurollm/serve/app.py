"""The server: OpenAI's chat completions and a chat page over one model."""

import asyncio
import base64
import errno
import hashlib
import json
import re
import socket
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openeurollm.errors import BadInput, Failure
from openeurollm.serve.line import Answer, Line
from openeurollm.serve.model import ChatModel
from openeurollm.serve.request import ApiError, ChatRequest, parse

MAX_BODY = 1_000_000
"""Bytes of a request; far beyond any context served here."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_CODES = {404: "not_found", 405: "method_not_allowed"}


def application(model: ChatModel, threads: int, host: str = "127.0.0.1") -> Starlette:
    """The web application. Bound to a loopback `host` it answers only to loopback names, against DNS rebinding."""
    page = resources.files(__package__).joinpath("chat.html").read_text("utf-8")
    site = _Site(model, Line(model, threads), page)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        site.line.close()

    app = Starlette(
        routes=[
            Route("/", site.page),
            Route("/v1/models", site.models),
            Route("/v1/chat/completions", site.complete, methods=["POST"]),
        ],
        exception_handlers={ApiError: _refuse, HTTPException: _not_here, Exception: _broken},
        lifespan=lifespan,
    )
    hosts = _LOOPBACK | {host.lower()} if is_loopback(host) else None
    app.add_middleware(_Guard, hosts=hosts, policy=_policy(page))
    return app


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to `host`."""
    return host.lower() in _LOOPBACK or host.startswith("127.")


class _Site:
    """The three addresses."""

    def __init__(self, model: ChatModel, line: Line, page: str) -> None:
        self.model, self.line, self._page = model, line, page
        self._since = int(time.time())

    async def page(self, request: Request) -> Response:
        return Response(self._page, media_type="text/html")

    async def models(self, request: Request) -> Response:
        model = {"id": self.model.name, "object": "model", "created": self._since, "owned_by": "openeurollm"}
        return JSONResponse({"object": "list", "data": [{**model, "context_window": self.model.context}]})

    async def complete(self, request: Request) -> Response:
        asked = parse(await _body(request))
        if asked.model is not None and asked.model != self.model.name:
            raise ApiError(404, f"no such model; this server has {self.model.name}", "model_not_found")
        prompt = await self._prompt(asked)
        answer = self.line.enter(prompt, asked.sampling(self.model.context - len(prompt)))
        reply = _Reply(self.model.name, len(prompt), answer)
        if asked.stream:
            usage = bool(asked.stream_options and asked.stream_options.include_usage)
            return _Stream(reply.chunks(usage), answer)
        return await reply.whole(request)

    async def _prompt(self, asked: ChatRequest) -> list[int]:
        try:
            prompt = await run_in_threadpool(self.model.prompt, [message.plain() for message in asked.messages])
        except BadInput as error:
            raise ApiError(400, str(error), "invalid_value") from None
        if len(prompt) >= self.model.context:
            raise ApiError(
                400,
                f"the conversation has {len(prompt)} tokens; this model's context of {self.model.context} leaves no room "
                "for an answer. Shorten it or begin anew",
                "context_length_exceeded",
            )
        return prompt


class _Reply:
    """An answer in OpenAI's forms."""

    def __init__(self, model: str, prompt_tokens: int, answer: Answer) -> None:
        self._prompt_tokens, self._answer = prompt_tokens, answer
        self._head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}

    async def whole(self, request: Request) -> Response:
        """The answer in one piece; a client that goes away stops it."""
        watch = asyncio.create_task(self._watch(request))
        try:
            text = "".join([piece async for piece in self._answer.pieces()])
        finally:
            self._answer.leave()
            watch.cancel()
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._reason()}
        body = {**self._head, "object": "chat.completion", "choices": [choice], "usage": self._usage()}
        return JSONResponse(body)

    async def chunks(self, usage: bool) -> AsyncIterator[str]:
        """The answer as server-sent events."""
        yield self._chunk({"role": "assistant", "content": ""})
        try:
            async for piece in self._answer.pieces():
                yield self._chunk({"content": piece})
        except Exception:
            yield _event(_failed().body())
            return
        yield self._chunk({}, self._reason())
        if usage:
            yield _event({**self._head, "object": "chat.completion.chunk", "choices": [], "usage": self._usage()})
        yield "data: [DONE]\n\n"

    def _chunk(self, delta: dict[str, str], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return _event({**self._head, "object": "chat.completion.chunk", "choices": [choice]})

    def _reason(self) -> str:
        return self._answer.ended.reason if self._answer.ended else "stop"

    def _usage(self) -> dict[str, int]:
        tokens = self._answer.ended.tokens if self._answer.ended else 0
        asked = self._prompt_tokens
        return {"prompt_tokens": asked, "completion_tokens": tokens, "total_tokens": asked + tokens}

    async def _watch(self, request: Request) -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self._answer.leave()


class _Stream(StreamingResponse):
    """Server-sent events; when they end for whatever reason, so does the answer behind them."""

    def __init__(self, chunks: AsyncIterator[str], answer: Answer) -> None:
        super().__init__(chunks, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answer.leave()


class _Guard:
    """Refuses foreign hosts and origins, and puts the security headers on every response."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None, policy: str) -> None:
        self._app, self._hosts = app, hosts
        self._headers = [
            (b"content-security-policy", policy.encode("ascii")),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"cache-control", b"no-store"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
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
        if self._hosts is not None and _hostname(f"//{host}") not in self._hosts:
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


async def _body(request: Request) -> bytes:
    """The request's body; raises `ApiError` 413 as soon as it is over `MAX_BODY` bytes."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise ApiError(413, f"a request has at most {MAX_BODY:,} bytes", "request_too_large")
    return bytes(body)


def _policy(page: str) -> str:
    """A content security policy under which the page runs its own script and style and loads nothing from elsewhere."""
    script, style = (
        base64.b64encode(hashlib.sha256(found.encode()).digest()).decode()
        for tag in ("script", "style")
        for found in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    )
    return (
        f"default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}\n\n"


def _failed() -> ApiError:
    return ApiError(500, "the model failed on this request", "internal_error", "server_error")


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    headers = {"Retry-After": "5"} if error.status == 503 else {}
    return JSONResponse(error.body(), error.status, headers)


async def _not_here(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = (
        "no such address; there are /, /v1/models and /v1/chat/completions"
        if error.status_code == 404
        else error.detail
    )
    refusal = ApiError(error.status_code, words, _CODES.get(error.status_code, "invalid_request"))
    return JSONResponse(refusal.body(), error.status_code, error.headers)


async def _broken(_: Request, error: Exception) -> Response:
    return JSONResponse(_failed().body(), 500)


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens on `host` and `port` (0 finds a free one).

    Raises `Failure` where the port is taken or not allowed, `BadInput` where the host is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=100)
    except OverflowError:
        raise BadInput(f"--port {port}: ports are 0 to 65535") from None
    except socket.gaierror:
        raise BadInput(f"--host {host}: not an address of this machine") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Failure(f"port {port} is in use; stop what uses it, or choose another with --port") from None
        if error.errno == errno.EACCES:
            raise Failure(f"port {port} needs more rights; choose one above 1023 with --port") from None
        raise BadInput(f"--host {host}: not an address of this machine") from None


def run(app: Starlette, listening: socket.socket) -> None:
    """Serve until interrupted; answers under way are stopped."""
    import uvicorn

    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, server_header=False)
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        return
