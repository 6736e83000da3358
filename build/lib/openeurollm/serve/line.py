"""The line before the model: one answer at a time, few may wait, and who leaves is not answered."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from threading import BoundedSemaphore, Event

from openeurollm.serve.model import ChatModel, Ended, Sampling
from openeurollm.serve.request import ApiError

MOST = 9
"""Requests inside at once: one that is answered and eight that wait."""
_log = logging.getLogger(__name__)

_Piece = str | Ended | ApiError | None
"""What passes from the model's thread: text, how it ended, a failure, or None when no more will come."""


class Answer:
    """An answer under way, or waiting for its turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pieces: asyncio.Queue[_Piece] = asyncio.Queue()
        self._left = Event()
        self.turn: Future[None] | None = None
        self.ended = Ended("length", 0)

    async def pieces(self) -> AsyncIterator[str]:
        """The text as it comes; afterwards `ended` says how it ended.

        Raises `ApiError` where the model fails or the server stops.
        """
        while (piece := await self._pieces.get()) is not None:
            if isinstance(piece, ApiError):
                raise piece
            if isinstance(piece, Ended):
                self.ended = piece
            else:
                yield piece
                await asyncio.sleep(0)  # a full queue must not keep the loop from hearing that the client has gone

        if self._left.is_set():
            raise ApiError(503, "the server is stopping", "stopping", "server_error")

    def leave(self) -> None:
        """Nobody waits for the rest: stop at the next token, or give up the place in the line."""
        self._left.set()
        if self.turn is not None:
            self.turn.cancel()

    def left(self) -> bool:
        """Whether nobody waits for the rest."""
        return self._left.is_set()

    def put(self, piece: _Piece) -> None:
        """Pass a piece on, from any thread; a loop that has closed wants none."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)


class Line:
    """One thread that answers with `threads` threads of its own, in the order of arrival."""

    def __init__(self, model: ChatModel, threads: int) -> None:
        self._model = model
        self._places = BoundedSemaphore(MOST)
        self._inside: set[Answer] = set()
        self._thread = ThreadPoolExecutor(1, "model", initializer=_use, initargs=(threads,))

    def enter(self, prompt: Sequence[int], sampling: Sampling) -> Answer:
        """Take a place in the line; raises `ApiError` 503 where there is none."""
        if not self._places.acquire(blocking=False):
            raise ApiError(503, "too many requests wait already; try again in a few seconds", "busy", "server_error")
        answer = Answer(asyncio.get_running_loop())
        self._inside.add(answer)
        answer.turn = self._thread.submit(self._serve, answer, prompt, sampling)
        answer.turn.add_done_callback(lambda _: self._done(answer))
        return answer

    def _serve(self, answer: Answer, prompt: Sequence[int], sampling: Sampling) -> None:
        try:
            answer.put(self._model.answer(prompt, sampling, answer.put, answer.left))
        except Exception as error:  # it belongs to the client that asked, not to this thread
            _log.error("the model failed on a request: %s: %s", type(error).__name__, error)
            answer.put(failed())

    def _done(self, answer: Answer) -> None:
        self._inside.discard(answer)
        self._places.release()
        answer.put(None)

    def close(self) -> None:
        """Stop the answer under way, drop those that wait, and take no more."""
        for answer in tuple(self._inside):
            answer.leave()
        self._thread.shutdown(wait=False)


def failed() -> ApiError:
    """What a client is told of a defect: that there is one."""
    return ApiError(500, "the model failed on this request", "internal_error", "server_error")


def _use(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
