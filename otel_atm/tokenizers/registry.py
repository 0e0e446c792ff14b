"""The registry: which tokenizer counts for which model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from re import Pattern
from typing import Any, Final

from otel_atm.cache import Cache
from otel_atm.errors import ConfigurationError
from otel_atm.tokenizers.count import RequestTokenizer, TokenCount, Tokenizer
from otel_atm.tokenizers.estimate import ByBytes
from otel_atm.tokenizers.requests import count_parts, known_shape
from otel_atm.tokenizers.vocabularies import matcher, names_of
from otel_atm.trouble import Trouble

_MOST_MODELS: Final = 1_024
_BY_BYTES: Final = ByBytes()


class Tokenizers:
    """Asks the tokenizers of a model, the last registered first, until one can tell.

    The last resort is an estimate by bytes, so there always is an answer. A tokenizer that fails
    is passed over and counted. Registering is for set-up; counting is for any thread.

    Args:
        trouble: counts what fails in tokenizers.

    >>> Tokenizers().count("Hello, world!", "gpt-5.1")
    TokenCount(tokens=4, estimated=True, method='bytes', at_most=5)
    """

    def __init__(self, trouble: Trouble | None = None) -> None:
        self._trouble = trouble or Trouble()
        self._registered: tuple[tuple[Pattern[str], Tokenizer], ...] = ()
        self._of_model: Cache[str, tuple[Tokenizer, ...]] = Cache(_MOST_MODELS)

    def register(self, tokenizer: Tokenizer, models: str | Iterable[str] = "*") -> None:
        """Ask a tokenizer before all that were registered so far; once, if it is there already.

        Args:
            tokenizer: has ``count(text, model)``, see `Tokenizer`.
            models: a glob or several, upper and lower case alike; ``gpt-5*`` is also of
                ``openai/gpt-5.1``. ``*`` is every model, and calls whose model is not known.

        Raises:
            ConfigurationError: it has no ``count``; there is no glob.
        """
        globs = (models,) if isinstance(models, str) else tuple(models)
        if not callable(getattr(tokenizer, "count", None)):
            raise ConfigurationError(f"tokenizer={tokenizer!r}: expected a method count")
        if not globs or not all(globs):
            raise ConfigurationError(f"models={models!r}: expected globs of models")
        ours = (matcher(globs), tokenizer)
        self._registered = (ours, *(each for each in self._registered if each != ours))
        self._of_model = Cache(_MOST_MODELS)

    def count(self, text: str, model: str | None = None) -> TokenCount:
        """How many tokens a model reads in a text, without what a chat adds to it.

        Args:
            text: any; it is not kept.
            model: as the call has it. None: not known.

        Raises:
            TypeError: `text` is no str.
        """
        if not isinstance(text, str):
            raise TypeError(f"text: expected a str, not {type(text).__name__}")
        for tokenizer in self._find(model):
            if (count := self._ask(tokenizer, partial(tokenizer.count, text, model))) is not None:
                return count
        return _BY_BYTES.count(text, model)

    def count_request(
        self, body: Mapping[str, Any], shape: str, model: str | None = None
    ) -> TokenCount:
        """About how many tokens a model reads in a whole request: with roles, tools, schemas.

        An estimate, as what providers add is theirs to change; but of a text alone, as for
        embeddings, what `count` says.

        Args:
            body: of the request, as JSON has it: dicts, lists, strings.
            shape: its wire format, e.g. ``openai.chat``, ``openai.responses``,
                ``anthropic.messages``, ``gemini.generate_content``.
            model: None: as the body has it.

        Raises:
            ConfigurationError: quotes a shape that is not known.
        """
        known_shape(shape)
        named = model or body.get("model")
        model = named if isinstance(named, str) else None
        for tokenizer in self._find(model):
            if isinstance(tokenizer, RequestTokenizer):
                ask = partial(tokenizer.count_request, body, shape, model)
                if (count := self._ask(tokenizer, ask)) is not None:
                    return count
        return count_parts(body, shape, model, partial(self.count, model=model))

    def prepare(self, model: str | None = None) -> None:
        """Load what counts for a model, so that the first call does not wait for it."""
        self.count(" ", model)

    def _find(self, model: str | None) -> tuple[Tokenizer, ...]:
        key = model or ""
        found = self._of_model.get(key)
        if found is None:
            names = tuple(names_of(model))
            found = tuple(
                tokenizer
                for pattern, tokenizer in self._registered
                if any(pattern.match(name) for name in names)
            )
            self._of_model.put(key, found)
        return found

    def _ask(self, tokenizer: Tokenizer, step: partial[TokenCount | None]) -> TokenCount | None:
        try:
            count = step()
            return count if count is None else _checked(count, tokenizer)
        except Exception as error:  # noqa: BLE001 - telemetry never breaks the application
            self._trouble.note("tokenizer", error)
            return None


def _checked(count: TokenCount, tokenizer: Tokenizer) -> TokenCount:
    """A count with all that its maker left out.

    Raises:
        ValueError: it is no count of tokens.
    """
    tokens, estimated, method, _ = count
    if type(tokens) is not int or tokens < 0:
        raise ValueError("expected tokens ≥ 0")
    method = method or type(tokenizer).__name__
    return TokenCount(tokens, estimated, method, count.upper)
