"""A model in this process, behind agent-framework's own layers, and what it says it has used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import httpx
import openai
from agent_framework import (
    BaseChatClient,
    ChatMiddlewareLayer,
    ChatResponse,
    ChatResponseUpdate,
    Content,
    FunctionInvocationLayer,
    Message,
    ResponseStream,
)

Usage = dict[str, Any]


def usage(given: int = 100, made: int = 400) -> Usage:
    """As agent-framework's clients report it."""
    return {
        "input_token_count": given,
        "output_token_count": made,
        "total_token_count": given + made,
    }


class Model(FunctionInvocationLayer[Any], ChatMiddlewareLayer[Any], BaseChatClient[Any]):
    """Answers "word word word word"; in a stream, word by word and the usage at last.

    `reports` is the usage of each answer, or a function that tells it; None says nothing. `early`
    is what a stream reports before the first word. `fails` is raised, by a stream after
    `fails_after` words. `wait` is awaited before each answer, and between the words of a stream.
    """

    def __init__(
        self,
        reports: Usage | Callable[[], Usage | None] | None = None,
        *,
        early: Usage | None = None,
        fails: BaseException | None = None,
        fails_after: int = 0,
        wait: Callable[[], Awaitable[object]] | None = None,
        silent: bool = False,
    ) -> None:
        super().__init__()
        self.model = "test-model"
        self._reports = None if silent else reports or usage()
        self._early, self._fails, self._fails_after, self._wait = early, fails, fails_after, wait
        self.asked = 0
        self.told = 0
        self.closed = 0

    def _inner_get_response(
        self, *, messages: Sequence[Message], stream: bool, options: Mapping[str, Any], **more: Any
    ) -> Any:
        if stream:
            return ResponseStream(self._words(), finalizer=ChatResponse.from_updates)
        return self._answer()

    def _report(self) -> Usage | None:
        told = self._reports() if callable(self._reports) else self._reports
        self.told += told["total_token_count"] if told else 0
        return told

    async def _answer(self) -> ChatResponse[Any]:
        self.asked += 1
        if self._wait is not None:
            await self._wait()
        if self._fails is not None:
            raise self._fails
        return ChatResponse(
            messages=Message("assistant", ["word word word word"]),
            model="test-model-1",
            usage_details=self._report(),  # type: ignore[arg-type]
        )

    async def _words(self) -> AsyncIterator[ChatResponseUpdate]:
        self.asked += 1
        try:
            if self._early is not None:
                yield _update(Content.from_usage(self._early))  # type: ignore[arg-type]
            for place in range(4):
                if self._wait is not None:
                    await self._wait()
                if self._fails is not None and place == self._fails_after:
                    raise self._fails
                yield _update(Content.from_text("word "))
            told = self._report()
            contents = [Content.from_usage(told)] if told else []  # type: ignore[arg-type]
            yield _update(*contents, finish_reason="stop")
        finally:
            self.closed += 1


def _update(*contents: Content, **more: Any) -> ChatResponseUpdate:
    return ChatResponseUpdate(
        contents=list(contents), role="assistant", model="test-model-1", **more
    )


def openai_client(base_url: str) -> openai.AsyncOpenAI:
    """A client that keeps no connection, so that nobody has to close it."""
    limits = httpx.Limits(max_keepalive_connections=0)
    return openai.AsyncOpenAI(
        base_url=base_url,
        api_key="none",
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(limits=limits),
    )


async def elsewhere() -> None:
    """Let everything else that can go on, go on for a while."""
    for _ in range(20):
        await asyncio.sleep(0)
