"""Tokenizers of one's own: from a function, or from a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256 as hash_of
from pathlib import Path
from typing import Final

from otel_atm.errors import ConfigurationError
from otel_atm.tokenizers.count import TokenCount, Tokenizer
from otel_atm.tokenizers.libraries import build, is_installed
from otel_atm.tokenizers.vocabularies import VOCABULARIES, Vocabulary

#: How a file ends → the package that reads it.
_LIBRARIES: Final = {".model": "sentencepiece", ".json": "tokenizers"}
_KNOWN: Final = {each.file: each for each in VOCABULARIES if each.library == "tiktoken"}


class _Function:
    def __init__(self, count: Callable[[str], int], method: str, estimated: bool) -> None:
        self._count, self._method, self._estimated = count, method, estimated

    def count(self, text: str, model: str | None) -> TokenCount:  # noqa: ARG002 - whichever it is
        return TokenCount(self._count(text), self._estimated, self._method)


def from_function(
    count: Callable[[str], int], *, method: str = "function", estimated: bool = False
) -> Tokenizer:
    """A tokenizer that calls a function.

    Args:
        count: text → tokens, ≥ 0. It is called from any thread, several at once.
        method: as `TokenCount.method`.
        estimated: whether it is only about right.
    """
    return _Function(count, method, estimated)


def from_file(path: str | os.PathLike[str], *, sha256: str | None = None) -> Tokenizer:
    """A tokenizer of a file, which is loaded at once.

    Args:
        path: ends in ``.model`` (needs ``sentencepiece``), in ``.json`` (Hugging Face's
            ``tokenizer.json``; needs ``tokenizers``), or is ``o200k_base.tiktoken`` or
            ``cl100k_base.tiktoken``.
        sha256: that the file must have, in hex. None: any; OpenAI's are always checked.

    Raises:
        ConfigurationError: it cannot be read, is another one, or what reads it is not installed.
    """
    vocabulary = _vocabulary(Path(path), sha256)
    if not is_installed(vocabulary.library):
        raise ConfigurationError(f"{path}: is read by {vocabulary.library!r}: not installed")
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    if vocabulary.sha256 and (actual := hash_of(content).hexdigest()) != vocabulary.sha256:
        raise ConfigurationError(f"{path}: its SHA-256 is {actual}, not {vocabulary.sha256}")
    try:
        count = build(vocabulary, content)
    except Exception as error:
        raise ConfigurationError(f"{path}: {vocabulary.library} cannot read it: {error}") from error
    return _Function(count, f"{vocabulary.library}:{Path(path).name}", estimated=False)


def _vocabulary(path: Path, sha256: str | None) -> Vocabulary:
    if path.name in _KNOWN:
        return _KNOWN[path.name]
    library = _LIBRARIES.get(path.suffix)
    if library is None:
        expected = ", ".join((*_LIBRARIES, *_KNOWN))
        raise ConfigurationError(f"{path}: expected a file whose name ends in {expected}")
    return Vocabulary(path.name, library, "", (), "", (sha256 or "").lower(), ())
