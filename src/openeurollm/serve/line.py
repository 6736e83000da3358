"""The line before the model: one answer at a time, few may wait, and who leaves is not answered."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import BoundedSemaphore, Event

from openeurollm.serve.model import ChatModel, Ended, Sampling
from openeurollm.serve.request import ApiError

MOST = 9
"""Requests inside at once: one that is answered and eight that wait. A ninth would wait longest for nothing."""

_Piece = str | Ended | Exception | None
"""What passes from the model's thread: text, the end, an error, or None when no more will come."""


class Answer:
    """An answer under way, or waiting for its turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pieces: asyncio.Queue[_Piece] = asyncio.Queue()
        self._left = Event()
        self.ended: Ended | None = None

    async def pieces(self) -> AsyncIterator[str]:
        """The text as it comes; afterwards `ended` says how it ended. Raises what the model raised."""
        while (piece := await self._pieces.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            if isinstance(piece, Ended):
                self.ended = piece
            else:
                yield piece

    def leave(self) -> None:
        """The client has gone: stop at the next token, or do not begin."""
        self._left.set()

    def left(self) -> bool:
        """Whether the client has gone."""
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
        self._thread = ThreadPoolExecutor(1, "model", initializer=_use, initargs=(threads,))

    def enter(self, prompt: Sequence[int], sampling: Sampling) -> Answer:
        """Take a place in the line; raises `ApiError` 503 where there is none."""
        if not self._places.acquire(blocking=False):
            raise ApiError(503, "too many requests wait already; try again in a few seconds", "busy", "server_error")
        answer = Answer(asyncio.get_running_loop())
        self._thread.submit(self._serve, answer, prompt, sampling)
        return answer

    def _serve(self, answer: Answer, prompt: Sequence[int], sampling: Sampling) -> None:
        try:
            if not answer.left():
                answer.put(self._model.answer(prompt, sampling, answer.put, answer.left))
        except Exception as error:  # it belongs to the client that asked, not to this thread
            answer.put(error)
        finally:
            self._places.release()
            answer.put(None)

    def close(self) -> None:
        """Take no more and drop those that wait."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _use(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
