"""Told: what one call of the facade says: how many tokens, of which model, and who pays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from otel_atm.errors import ConfigurationError
from otel_atm.facade.native import read_native
from otel_atm.facade.texts import texts_in
from otel_atm.gate import NO_TOKENS, Tokens
from otel_atm.scope import MORE_KEYS, MORE_TAGS
from otel_atm.tokenizers import TokenCount, Tokenizers
from otel_atm.types import LLMPayload
from otel_atm.usage import MOST_TOKENS

#: Where each side is in `Tokens`.
PLACES: Final = {"request": 0, "response": 1}
_WHO: Final = ("username", "session_id", "app_id")


class Told:
    """What one call of the facade says.

    Attributes:
        tokens: of what was said; of the other side 0, unless `whole`.
        estimated: whether they are ours.
        known: whether there was anything to count.
        whole: whether both sides are told.
        model, provider: of the call.
        model_asked: the model that was named, not what a response says of itself.
        who: keys of a scope, in the words of agent-atm.
    """

    __slots__ = (
        *("estimated", "known", "model", "model_asked", "provider", "tokens", "who", "whole"),
    )

    def __init__(
        self, tokens: Tokens, *, estimated: bool, whole: bool, who: dict[str, Any]
    ) -> None:
        self.tokens, self.estimated, self.whole, self.who = tokens, estimated, whole, who
        self.known = True
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
    def of(cls, said: object, given: Mapping[str, Any], side: str, tokenizers: Tokenizers) -> Told:
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
            native = read_native(said)
        if native is not None and native.tokens is not None:
            told = cls(native.tokens, estimated=False, whole=True, who=_who(given))
        else:
            found = _count(said, count, model, side, tokenizers)
            estimated = found is None or found.estimated
            told = cls(NO_TOKENS, estimated=estimated, whole=False, who=_who(given))
            told.known = found is not None
            if found is not None:
                told.put(PLACES[side], found.tokens)
        told.model_asked = model
        told.model = model or (native.model if native else None)
        told.provider = native.provider if native else None
        return told


def _check_side(payload: LLMPayload, side: str) -> None:
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
    who = {name: _text(name, given[name]) for name in _WHO if given.get(name) is not None}
    return {**who, MORE_TAGS: given.get(MORE_TAGS) or (), MORE_KEYS: given.get(MORE_KEYS)}


def _count(
    said: object, count: object, model: str | None, side: str, tokenizers: Tokenizers
) -> TokenCount | None:
    """Tokens of one side; None when all that is known is that it was there."""
    if count is not None:
        return TokenCount(counted(count, "token_count"), estimated=False, method="stated")
    if isinstance(said, str):
        return tokenizers.count(said, model)
    if side == "request" and isinstance(said, list | Mapping):
        body = said if isinstance(said, Mapping) else {"messages": said}
        return tokenizers.count_request(body, "openai.chat", model)
    if said is None or isinstance(said, bool | int | float | bytes):
        shown = type(said).__name__ if isinstance(said, bytes) else repr(said)
        raise ConfigurationError(
            f"add_{_FUNCTION[side]}({shown}): expected a text, an LLMPayload, what a provider's "
            "client gives, or token_count=…"
        )
    found = tokenizers.count(texts_in(said), model)
    return found._replace(estimated=True) if found.tokens else None


_FUNCTION: Final = {"request": "user_request", "response": "model_response"}


def counted(count: object, name: str) -> int:
    """A number of tokens that somebody gave.

    Raises:
        ConfigurationError: it is none.
    """
    if type(count) is not int or not 0 <= count < MOST_TOKENS:
        raise ConfigurationError(f"{name}={count!r}: expected tokens, an integer ≥ 0 and < 2⁴⁰")
    return count


def _text(name: str, value: object) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise ConfigurationError(f"{name}={value!r}: expected a text")
