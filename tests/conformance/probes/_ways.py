"""Ways of a client whose sync and async sides look alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.conformance.harness import Way

#: Asks a client with a text; of an async client, gives an awaitable.
Ask = Callable[[Any, str], Any]


@dataclass(frozen=True, slots=True)
class Asks:
    """What one can ask a client.

    Attributes:
        answers: give the whole answer.
        streams: give an answer in events, which are read to the end.
        managers: give a context manager of such a one.
        untold: names of those whose answer does not tell what was used.
    """

    answers: Mapping[str, Ask] = field(default_factory=dict)
    streams: Mapping[str, Ask] = field(default_factory=dict)
    managers: Mapping[str, Ask] = field(default_factory=dict)
    untold: tuple[str, ...] = ()

    def ways(self, client: Any, async_client: Callable[[], Any]) -> dict[str, Way]:
        """All of them, sync and async.

        Args:
            client: the sync one.
            async_client: makes the other, an async context manager, in each event loop.
        """
        found = {}
        for name, ask in self.answers.items():
            found[name] = self._way(name, ask, client)
            found[f"{name} async"] = self._async_way(name, _answer, ask, async_client)
        for name, ask in self.streams.items():
            found[name] = self._way(name, lambda c, t, ask=ask: _read(ask(c, t)), client)
            found[f"{name} async"] = self._async_way(name, _stream, ask, async_client)
        for name, ask in self.managers.items():
            found[name] = self._way(name, lambda c, t, ask=ask: _read_in(ask(c, t)), client)
            found[f"{name} async"] = self._async_way(name, _manager, ask, async_client)
        return found

    def _way(self, name: str, do: Ask, client: Any) -> Way:
        return Way(lambda text: do(client, text), told=name not in self.untold)

    def _async_way(self, name: str, how: Any, ask: Ask, make: Callable[[], Any]) -> Way:
        def run(text: str) -> None:
            in_loop(make, lambda client: how(ask, client, text))

        return Way(run, told=name not in self.untold)


def in_loop(make: Callable[[], Any], do: Callable[[Any], Any]) -> None:
    """Do something with an async client, in an event loop of its own."""

    async def main() -> None:
        async with make() as client:
            await do(client)

    asyncio.run(main())


def _read(stream: Any) -> None:
    for _ in stream:
        pass


def _read_in(manager: Any) -> None:
    with manager as events:
        _read(events)


async def _answer(ask: Ask, client: Any, text: str) -> None:
    await ask(client, text)


async def _stream(ask: Ask, client: Any, text: str) -> None:
    async for _ in await ask(client, text):
        pass


async def _manager(ask: Ask, client: Any, text: str) -> None:
    async with ask(client, text) as events:
        async for _ in events:
            pass
