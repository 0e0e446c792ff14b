"""Streams: what comes of an answer, and how it ends: whole, broken off, or forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from agent_framework import ChatResponse, ChatResponseUpdate, ResponseStream, add_usage_details

from otel_atm.guards.agent_framework.requests import size_of
from otel_atm.trouble import Trouble


class StreamWatch:
    """Looks on as a stream is read; tells once how it has ended.

    The stream has the only reference to it, so that it is deleted with a stream that nobody reads
    to its end and nobody closes.

    Args:
        ended: called when an answer is whole, with this and the framework's response; or, with
            None for that, when it broke off.
        forgotten: called from `__del__`, in any thread, where neither was.
        trouble: counts what fails.

    Attributes:
        usage: what the provider has reported so far, as agent-framework adds it up.
        size, media: of what was received: bytes of text, how many media.
        model: that answers; None as long as nobody says.
        begun: whether the request was sent.
        received: whether anything came.
        finished: whether the provider has said why it ended.
        failed: whether it ended with an error, other than that nobody wanted it any more.
    """

    def __init__(
        self,
        ended: Callable[[StreamWatch, Any], Awaitable[None]],
        forgotten: Callable[[StreamWatch], None],
        trouble: Trouble,
    ) -> None:
        self.usage: dict[str, Any] = {}
        self.size = self.media = 0
        self.model: str | None = None
        self.begun = self.received = self.finished = self.failed = self._whole = self._told = False
        self._ended, self._forgotten, self._trouble = ended, forgotten, trouble

    def watch(self, stream: ResponseStream[ChatResponseUpdate, ChatResponse[Any]]) -> None:
        """Look on as this stream is read."""
        stream.with_pull_context_manager(lambda: self)
        stream.with_update_transform(self._update)
        stream.with_cleanup_hook(self._close)
        stream.with_result_transform(self._result)

    def __enter__(self) -> Self:
        """The next update is asked for."""
        self.begun = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """It is there, or there are no more, or it failed."""
        if kind is None:
            return
        if issubclass(kind, StopAsyncIteration):
            self._whole = True
        else:
            self.failed = issubclass(kind, Exception)

    def _update(self, update: ChatResponseUpdate) -> None:
        try:
            self._read(update)
        except Exception as error:  # noqa: BLE001 - the reader of the stream must not notice
            self._trouble.note("stream_update", error)

    def _read(self, update: Any) -> None:
        self.received = True
        self.model = update.model or self.model
        self.finished = self.finished or update.finish_reason is not None
        if told := getattr(update, "usage_details", None):
            self.usage.update(told)
        for content in update.contents:
            if getattr(content, "type", None) != "usage":
                continue
            replaces = getattr(content, "merge_mode", None) == "replace"
            before: Any = None if replaces else self.usage
            self.usage = dict(add_usage_details(before, content.usage_details))
        size, media = size_of(update.contents)
        self.size, self.media = self.size + size, self.media + media

    async def _close(self) -> None:
        """The stream is over; if the answer is whole, its result follows."""
        if not self._whole:
            await self._tell(None)

    async def _result(self, response: ChatResponse[Any]) -> None:
        await self._tell(response)

    async def _tell(self, response: Any) -> None:
        if not self._told:
            self._told = True
            await self._ended(self, response)

    def __del__(self) -> None:
        if not self._told:
            self._told = True
            self._forgotten(self)


def in_this_loop(do: Callable[[], object]) -> Callable[[], None]:
    """A function that has `do` called in the running loop, soon, unless that is closed then.

    It is safe in ``__del__`` and in any thread.
    """
    loop = asyncio.get_running_loop()

    def wake() -> None:
        with suppress(RuntimeError):  # closed
            loop.call_soon_threadsafe(do)

    return wake
