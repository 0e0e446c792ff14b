"""Counter: how many tokens it is that the facade was handed over."""

from __future__ import annotations

from collections.abc import Callable
from operator import index
from typing import Any, Final, Literal, TypeAlias, TypeVar

from otel_atm.errors import ConfigurationError
from otel_atm.facade.bodies import body_of
from otel_atm.facade.native import Native, read_native
from otel_atm.facade.texts import texts_in
from otel_atm.tokenizers import TokenCount, Tokenizers
from otel_atm.trouble import Trouble
from otel_atm.usage import MOST_TOKENS

T = TypeVar("T")
Side: TypeAlias = Literal["request", "response"]
_FUNCTION: Final = {"request": "add_user_request", "response": "add_model_response"}


class Counter:
    """Counts texts, requests and answers. What somebody else's object raises, stays in here.

    Args:
        tokenizers: count texts.
        trouble: counts objects that cannot be looked at.
    """

    def __init__(self, tokenizers: Tokenizers, trouble: Trouble) -> None:
        self._tokenizers, self._trouble = tokenizers, trouble

    def read(self, response: object) -> Native | None:
        """What a response says of itself; None if it is none that is known."""
        return self._look(read_native, response)

    def count(
        self, said: object, count: object, model: str | None, side: Side
    ) -> TokenCount | None:
        """Tokens of one side; None when all that is known is that it was there.

        Args:
            said: a text, messages, a body, or a client's object.
            count: goes before `said`, unless it is None.
            model: for its vocabulary.
            side: which one was said.

        Raises:
            ConfigurationError: it is nothing that could be counted.
        """
        if count is not None:
            return TokenCount(counted(count, "token_count"), estimated=False, method="stated")
        if isinstance(said, str):
            return self._tokenizers.count(said, model)
        if said is None and side == "response":
            return None  # as a message has it that calls tools
        if said is None or isinstance(said, bool | int | float | bytes):
            shown = type(said).__name__ if isinstance(said, bytes) else repr(said)
            raise ConfigurationError(
                f"{_FUNCTION[side]}({shown}): expected a text, an LLMPayload, what a provider's "
                "client gives, or token_count=…"
            )
        found = self._request(said, model) if side == "request" else None
        if found is None:
            found = self._tokenizers.count(self._look(texts_in, said) or "", model)
        return found._replace(estimated=True) if found.tokens else None

    def _request(self, said: object, model: str | None) -> TokenCount | None:
        """Of messages or a whole body; None of anything else."""
        body, shape = self._look(body_of, said) or (None, "")
        if body is None:
            return None
        return self._look(lambda asked: self._tokenizers.count_request(asked, shape, model), body)

    def _look(self, look: Callable[[Any], T], said: object) -> T | None:
        try:
            return look(said)
        except Exception as error:  # noqa: BLE001 - telemetry never breaks the application
            self._trouble.note("client_object", error)
            return None


def counted(count: object, name: str) -> int:
    """A number of tokens that somebody gave; any integer, also NumPy's.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        tokens = -1 if isinstance(count, bool) else index(count)  # type: ignore[arg-type]
    except TypeError:
        tokens = -1
    if not 0 <= tokens < MOST_TOKENS:
        raise ConfigurationError(f"{name}={count!r}: expected tokens, an integer ≥ 0 and < 2⁴⁰")
    return tokens
