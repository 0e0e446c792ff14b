"""Told: what one call of the facade says: how many tokens, of which model, and who pays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from otel_atm.errors import ConfigurationError
from otel_atm.facade.counter import Counter, Side
from otel_atm.gate import NO_TOKENS, Tokens
from otel_atm.scope import MORE_KEYS, MORE_TAGS
from otel_atm.types import LLMPayload

#: Where each side is in `Tokens`.
PLACES: Final[dict[Side, int]] = {"request": 0, "response": 1}
_WHO: Final = ("username", "session_id", "app_id")


class Told:
    """What one call of the facade says.

    Attributes:
        tokens: of what was said; of the other side 0, unless `whole`.
        estimated: whether they are ours.
        known: whether there was anything to count.
        whole: whether both sides are told.
        certain: places of what is not counted by us: the provider's, or a given count.
        model, provider: of the call.
        model_asked: the model that was named, not what a response says of itself.
        who: keys of a scope, in the words of agent-atm.
    """

    __slots__ = (
        "certain",
        "estimated",
        "known",
        "model",
        "model_asked",
        "provider",
        "tokens",
        "who",
        "whole",
    )

    def __init__(
        self, tokens: Tokens, *, estimated: bool, whole: bool, who: dict[str, Any]
    ) -> None:
        self.tokens, self.estimated, self.whole, self.who = tokens, estimated, whole, who
        self.known = True
        self.certain = range(2) if whole else range(0)
        self.model: str | None = None
        self.model_asked: str | None = None
        self.provider: str | None = None

    def put(self, place: int, tokens: int) -> None:
        """Say how many tokens one side has."""
        given, made, read, write, reasoning = self.tokens
        if place == 0:
            self.tokens = tokens, made, read, write, reasoning
        else:
            self.tokens = given, tokens, read, write, reasoning

    @classmethod
    def of(cls, said: object, given: Mapping[str, Any], side: Side, counter: Counter) -> Told:
        """Of what was handed over, and the keywords beside it, which go before it.

        Raises:
            ConfigurationError: quotes what cannot be used.
        """
        if isinstance(said, LLMPayload):
            _check_side(said, side)
            given = {**_of_payload(said), **{k: v for k, v in given.items() if v is not None}}
            said = said.content
        model = _text("model_id", given.get("model_id"))
        native, count = None, given.get("token_count")
        if count is None and said is not None and not isinstance(said, str):
            native = counter.read(said)
        if native is not None and native.tokens is not None:
            whole = native.tokens[0] > 0  # else it is a chunk that tells of the output alone
            told = cls(native.tokens, estimated=False, whole=whole, who=_who(given))
            told.certain = range(0 if whole else 1, 2)
        else:
            found = counter.count(said, count, model, side)
            estimated = found is None or found.estimated
            told = cls(NO_TOKENS, estimated=estimated, whole=False, who=_who(given))
            told.known = found is not None
            if found is not None:
                told.put(PLACES[side], found.tokens)
            if count is not None:
                told.certain = range(PLACES[side], PLACES[side] + 1)
        told.model_asked = model
        told.model = model or (native.model if native else None)
        told.provider = native.provider if native else None
        return told


def _check_side(payload: LLMPayload, side: Side) -> None:
    if payload.event_type not in (None, side):
        other = {"request": "add_model_response", "response": "add_user_request"}[side]
        raise ConfigurationError(
            f"LLMPayload(event_type={payload.event_type!r}): that is for otel_atm.{other}"
        )


def _of_payload(payload: LLMPayload) -> dict[str, Any]:
    return {
        "token_count": payload.token_count_override,
        "model_id": payload.model_id,
        **{name: getattr(payload, name) for name in _WHO},
        MORE_TAGS: payload._additional_metadata_tags,
        MORE_KEYS: payload._additional_metadata_config,
    }


def _who(given: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a scope among the keywords; tags are always said."""
    who = {name: _payer(name, given.get(name)) for name in _WHO}
    return {
        **{name: each for name, each in who.items() if each},
        MORE_TAGS: given.get(MORE_TAGS) or (),
        MORE_KEYS: given.get(MORE_KEYS),
    }


def _payer(name: str, value: object) -> str | None:
    """As `otel_atm.context` has it: text or an integer; nobody if it is empty."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ConfigurationError(f"{name}={value!r}: expected a text or an integer")


def _text(name: str, value: object) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise ConfigurationError(f"{name}={value!r}: expected a text")
