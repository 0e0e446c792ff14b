"""Rough weather: many callers at once, slow streams, streams that end early, and retries."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import otel_atm as atm
from otel_atm.testing import ProviderServer
from tests.conformance.harness import Way
from tests.conformance.probes._ways import Ask, in_loop

CALLS: Final = 50
_AT_A_TIME: Final = 16


@dataclass(frozen=True, slots=True)
class Rough:
    """What is done with a client in rough weather.

    Attributes:
        server: that it talks to.
        client: the sync one.
        async_client: makes the other in each event loop.
        answer: asks for a whole answer.
        stream: asks for one in events, which tell what was used at last.
        cut: errors of a stream whose connection was lost.
    """

    server: ProviderServer
    client: Any
    async_client: Callable[[], Any]
    answer: Ask
    stream: Ask
    cut: tuple[type[Exception], ...]

    def ways(self) -> Mapping[str, Way]:
        """All of them."""
        many = {"requests": CALLS, "refusals": CALLS}
        ended = {"told": False, "statuses": ("cancelled", "error")}
        return {
            "50 threads": Way(self._threads, **many),
            "50 tasks": Way(self._tasks, **many),
            "retries": Way(self._retries, requests=3, calls=1, told=False),
            "retries async": Way(self._retries_async, requests=3, calls=1, told=False),
            "stream closed early": Way(self._closed, **ended),
            "stream closed early async": Way(self._closed_async, **ended),
            "stream cut": Way(self._cut, **ended),
            "stream cut async": Way(self._cut_async, **ended),
        }

    def _threads(self, text: str) -> None:
        def one(number: int) -> None:
            words = text + "x" * number
            with atm.context(session=str(len(words))):
                if number % 2:
                    self.answer(self.client, words)
                else:
                    for _ in self.stream(self.client, words):
                        pass

        with self.server.faulty(delay_s=0.02, chunk_delay_s=0.002):
            with ThreadPoolExecutor(_AT_A_TIME) as pool:
                contexts = [contextvars.copy_context() for _ in range(CALLS)]
                done = [pool.submit(each.run, one, n) for n, each in enumerate(contexts)]
            _raise_first([each.exception() for each in done])

    def _tasks(self, text: str) -> None:
        async def one(client: Any, number: int) -> None:
            words = text + "x" * number
            with atm.context(session=str(len(words))):
                if number % 2:
                    await self.answer(client, words)
                else:
                    async for _ in await self.stream(client, words):
                        pass

        async def all_of_them(client: Any) -> None:
            calls = (one(client, number) for number in range(CALLS))
            _raise_first(await asyncio.gather(*calls, return_exceptions=True))

        with self.server.faulty(delay_s=0.02, chunk_delay_s=0.002):
            in_loop(self.async_client, all_of_them)

    def _retries(self, text: str) -> None:
        with self.server.faulty(status=[500, 429], retry_after_s=0.01):
            self.answer(self.client, text)

    def _retries_async(self, text: str) -> None:
        with self.server.faulty(status=[500, 429], retry_after_s=0.01):
            in_loop(self.async_client, lambda client: self.answer(client, text))

    def _closed(self, text: str) -> None:
        heard = len(self.server.reported)
        with self.server.faulty(chunk_delay_s=0.05):
            stream = self.stream(self.client, text)
            next(iter(stream))
            stream.close()
            self.server.wait_reported(heard + 1)

    def _closed_async(self, text: str) -> None:
        heard = len(self.server.reported)

        async def read(client: Any) -> None:
            stream = await self.stream(client, text)
            await anext(aiter(stream))
            await stream.close()

        with self.server.faulty(chunk_delay_s=0.05):
            in_loop(self.async_client, read)
            self.server.wait_reported(heard + 1)

    def _cut(self, text: str) -> None:
        with self.server.faulty(drop_stream_after=3):
            stream = self.stream(self.client, text)
            try:
                for _ in stream:
                    pass
            except self.cut:
                return
        raise RuntimeError("the stream was not cut")

    def _cut_async(self, text: str) -> None:
        async def read(client: Any) -> None:
            stream = await self.stream(client, text)
            try:
                async for _ in stream:
                    pass
            except self.cut:
                return
            raise RuntimeError("the stream was not cut")

        with self.server.faulty(drop_stream_after=3):
            in_loop(self.async_client, read)


def _raise_first(errors: list[BaseException | None]) -> None:
    for error in errors:
        if error is not None:
            raise error
