"""What callbacks are told, and telling it: they may be async, and they may fail."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from otel_atm.guards.counts import count_of
from otel_atm.trouble import Trouble

#: Takes a record or a payload; may be async. What it returns is not looked at.
UsageCallback: TypeAlias = Callable[[dict[str, Any]], Any]

_COUNTS: Final = ("input_token_count", "output_token_count", "total_token_count")


class Told(NamedTuple):
    """What one call has used.

    Attributes:
        given, made: tokens of input and output; None where the provider does not say.
        total: that are charged.
        model: that has answered; None where nobody says.
        estimated: whether the numbers are ours and not the provider's.
    """

    given: int | None
    made: int | None
    total: int
    model: str | None
    estimated: bool = False


def told_by(usage: Mapping[str, Any] | None, model: str | None) -> Told | None:
    """What a provider's usage says, in agent-framework's words; None if it says nothing."""
    if not usage or all(usage.get(name) is None for name in _COUNTS):
        return None
    given, made, total = (
        None if usage.get(name) is None else count_of(usage.get(name)) for name in _COUNTS
    )
    return Told(given, made, total or (given or 0) + (made or 0), model)


async def settled(value: Any) -> Any:
    """A value, awaited if it has to be."""
    return await value if inspect.isawaitable(value) else value


async def tell(
    name: str, callback: UsageCallback | None, payload: dict[str, Any], trouble: Trouble
) -> None:
    """Call a callback. What it raises is counted, and logged the first time."""
    if callback is None:
        return
    try:
        await settled(callback(payload))
    except Exception as error:  # noqa: BLE001 - a callback must not cost the reply
        trouble.note(name, error)
