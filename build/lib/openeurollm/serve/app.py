"""The server: OpenAI's chat completions and a chat page over one model."""

import asyncio
import base64
import hashlib
import json
import re
import time
import uuid
from collections.abc import AsyncIterator
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from openeurollm.errors import BadInput
from openeurollm.serve.guard import Guard
from openeurollm.serve.line import Answer, Line, failed
from openeurollm.serve.model import ChatModel
from openeurollm.serve.request import ApiError, ChatRequest, parse

MAX_BODY = 1_000_000
"""Bytes of a request; far beyond any context served here."""
_PATIENCE = 30
"""Seconds in which a request must have come."""
_CODES = {404: "not_found", 405: "method_not_allowed"}


def application(model: ChatModel, threads: int, host: str = "127.0.0.1") -> Guard:
    """The web application for a server bound to `host`, behind its guard."""
    page = resources.files(__package__).joinpath("chat.html").read_text("utf-8")
    site = _Site(model, Line(model, threads), page)

    app = Starlette(
        routes=[
            Route("/", site.page),
            Route("/v1/models", site.models),
            Route("/v1/chat/completions", site.complete, methods=["POST"]),
        ],
        exception_handlers={ApiError: _refuse, HTTPException: _not_here, Exception: _broken},
    )
    return Guard(app, host, _policy(page), site.line.close)


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
            words = f"the conversation has {len(prompt)} tokens and leaves no room in this model's {self.model.context}"
            raise ApiError(400, f"{words}; shorten it or begin anew", "context_length_exceeded")
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
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._answer.ended.reason}
        body = {**self._head, "object": "chat.completion", "choices": [choice], "usage": self._usage()}
        return JSONResponse(body)

    async def chunks(self, usage: bool) -> AsyncIterator[str]:
        """The answer as server-sent events."""
        yield self._chunk({"role": "assistant", "content": ""})
        try:
            async for piece in self._answer.pieces():
                yield self._chunk({"content": piece})
        except ApiError as error:
            yield _event(error.body())
            return
        yield self._chunk({}, self._answer.ended.reason)
        if usage:
            yield _event({**self._head, "object": "chat.completion.chunk", "choices": [], "usage": self._usage()})
        yield "data: [DONE]\n\n"

    def _chunk(self, delta: dict[str, str], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return _event({**self._head, "object": "chat.completion.chunk", "choices": [choice]})

    def _usage(self) -> dict[str, int]:
        asked, tokens = self._prompt_tokens, self._answer.ended.tokens
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


async def _body(request: Request) -> bytes:
    """The request's body; raises `ApiError` 413 as soon as it is over `MAX_BODY` bytes, 408 where it does not come."""
    body = bytearray()
    try:
        async with asyncio.timeout(_PATIENCE):
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY:
                    raise ApiError(413, f"a request has at most {MAX_BODY:,} bytes", "request_too_large")
    except TimeoutError:
        raise ApiError(408, f"the request was not whole after {_PATIENCE} seconds", "request_timeout") from None
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
    return JSONResponse(failed().body(), 500)
