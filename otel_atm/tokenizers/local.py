"""Local tokenizers: counts by vocabularies whose files are on this machine."""

from __future__ import annotations

from math import ceil
from typing import Final

from otel_atm.late import late_import
from otel_atm.tokenizers.count import TokenCount
from otel_atm.tokenizers.estimate import factor
from otel_atm.tokenizers.files import Files
from otel_atm.tokenizers.libraries import Counter, build, is_installed
from otel_atm.tokenizers.vocabularies import O200K, Vocabulary, vocabulary_of

#: What another vocabulary may have for one token of ours: cl100k_base has 1.73 for Russian.
MOST_OF_ANOTHER: Final = 1.8

#: (vocabulary, SHA-256 or path of its file) → its counter: some 70 MB each, so once a process.
_built: dict[tuple[str, str], Counter] = {}


class Vocabularies:
    """Vocabularies that are loaded when they are first asked for, in any thread.

    Args:
        files: where they may lie.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._counters: dict[str, Counter | None] = {}

    def counter(self, vocabulary: Vocabulary) -> Counter | None:
        """Its counter; None without a usable file or library, which is looked for once.

        Raises:
            Exception: what its library raises for a file that does not fit; the first time only.
        """
        if vocabulary.name not in self._counters:
            with late_import():  # a fork waits, so no child finds it half done
                if vocabulary.name not in self._counters:
                    self._load(vocabulary)
        return self._counters[vocabulary.name]

    def _load(self, vocabulary: Vocabulary) -> None:
        counter = None
        try:
            counter = self._built(vocabulary)
        finally:  # should it fail: once
            self._counters[vocabulary.name] = counter

    def _built(self, vocabulary: Vocabulary) -> Counter | None:
        if not is_installed(vocabulary.library):
            return None
        found, content = self._files.find(vocabulary)
        if found is None or found.problem:
            return None
        key = (vocabulary.name, vocabulary.sha256 or str(found.path))
        if key not in _built:
            _built[key] = build(vocabulary, content)
        return _built[key]


class Local:
    """Counts as the provider does, for the models of vocabularies that are here.

    Args:
        vocabularies: that may be loaded.
    """

    def __init__(self, vocabularies: Vocabularies) -> None:
        self._vocabularies = vocabularies

    def count(self, text: str, model: str | None) -> TokenCount | None:
        """As `Tokenizer.count`; None for other models, and where the file is missing."""
        vocabulary = vocabulary_of(model)
        if vocabulary is None:
            return None
        counter = self._vocabularies.counter(vocabulary)
        return counter and TokenCount(counter(text), method=_method(vocabulary))


class StandIn:
    """Estimates by OpenAI's vocabulary, for models whose own is not here.

    Args:
        vocabularies: that may be loaded.
    """

    def __init__(self, vocabularies: Vocabularies) -> None:
        self._vocabularies = vocabularies

    def count(self, text: str, model: str | None) -> TokenCount | None:
        """As `Tokenizer.count`; None where the file is missing."""
        counter = self._vocabularies.counter(O200K)
        if counter is None:
            return None
        tokens = ceil(counter(text) * factor(model))
        return TokenCount(tokens, True, _method(O200K), ceil(tokens * MOST_OF_ANOTHER))


def _method(vocabulary: Vocabulary) -> str:
    return f"{vocabulary.library}:{vocabulary.name}"
