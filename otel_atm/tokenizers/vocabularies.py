"""Vocabularies: the files that tokenizers read, which models they are of, who publishes them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate
from functools import lru_cache
from hashlib import sha1
from typing import Final, NamedTuple


class Vocabulary(NamedTuple):
    """One row.

    Attributes:
        name: as the command line and `TokenCount.method` have it.
        library: the package that reads it.
        extra: of otel-atm, that brings the package; "" where it is always there.
        models: globs; in lower case, for names with or without what stands before a slash.
        url: where its publisher has it; "": not for everybody.
        sha256: of the file; "": not known, so it cannot be checked.
        elsewhere: globs of what others call it, below their folders.
    """

    name: str
    library: str
    extra: str
    models: tuple[str, ...]
    url: str
    sha256: str
    elsewhere: tuple[str, ...]

    @property
    def file(self) -> str:
        """Its name in our folder, and in yours."""
        return self.url.rpartition("/")[2] or f"{self.name}.json"

    @property
    def names(self) -> tuple[str, ...]:
        """Globs of all that it may be called."""
        # tiktoken, google-genai and who bundles their files: the SHA-1 of the address
        cached = (sha1(self.url.encode(), usedforsecurity=False).hexdigest(),) if self.url else ()
        return (self.file, f"{self.file}.gz", *cached, *self.elsewhere)


_OPENAI: Final = "https://openaipublic.blob.core.windows.net/encodings/"
_GEMMA3: Final = (
    "https://raw.githubusercontent.com/google/gemma_pytorch/"
    "014acb7ac4563a5f77c76d7ff98f31b568c16508/tokenizer/gemma3_cleaned_262144_v2.spiece.model"
)

#: Sources: tiktoken 0.14, ``model.py`` and ``openai_public.py``; google-genai 3.4,
#: ``_local_tokenizer_loader.py``. ``o200k_harmony`` of gpt-oss differs from ``o200k_base`` in
#: special tokens alone, which no text has.
O200K: Final = Vocabulary(
    "o200k_base",
    "tiktoken",
    "",
    (
        *("gpt-5*", "gpt-4.5*", "gpt-4.1*", "gpt-4o*", "chatgpt-4o*", "*gpt-oss*"),
        *("o1", "o1-*", "o3", "o3-*", "o4-mini*", "ft:gpt-4o*", "ft:gpt-4.1*"),
    ),
    f"{_OPENAI}o200k_base.tiktoken",
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    (),
)
CL100K: Final = Vocabulary(
    "cl100k_base",
    "tiktoken",
    "",
    (
        *("gpt-4", "gpt-4-*", "gpt-3.5*", "gpt-35-turbo*", "text-embedding-3-*"),
        *("text-embedding-ada-002", "davinci-002", "babbage-002"),
        *("ft:gpt-4:*", "ft:gpt-4-*", "ft:gpt-3.5-turbo*", "ft:davinci-002*", "ft:babbage-002*"),
    ),
    f"{_OPENAI}cl100k_base.tiktoken",
    "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    (),
)
GEMMA3: Final = Vocabulary(
    "gemma3",
    "sentencepiece",
    "google",
    (
        *("gemini-2.0-*", "gemini-2.5-*", "gemini-live-2.5-*", "gemini-3-*"),
        *("gemma-3-*", "gemma-3n-*", "gemma3", "gemma3:*", "gemma3n", "gemma3n:*"),
    ),
    _GEMMA3,
    "1299c11d7cf632ef3b4e11937501358ada021bbdf7c47638d13c0ee982f2e79c",
    ("models--google--gemma-3-*/snapshots/*/tokenizer.model",),
)
GEMMA4: Final = Vocabulary(
    "gemma4",
    "tokenizers",
    "google",
    ("gemini-3.1-*", "gemini-3.5-*", "gemma-4-*", "gemma4", "gemma4:*"),
    "",
    "",
    ("models--google--gemma-4-*/snapshots/*/tokenizer.json",),
)
VOCABULARIES: Final = (O200K, CL100K, GEMMA3, GEMMA4)


@lru_cache(1_024)
def matcher(globs: tuple[str, ...]) -> re.Pattern[str]:
    """What matches any of these globs, in lower case."""
    return re.compile("|".join(translate(glob.lower()) for glob in globs))


def names_of(model: str | None) -> Iterable[str]:
    """What a model is matched by: its name, and what stands behind its last slash."""
    whole = (model or "").lower()
    return (whole, whole.rpartition("/")[2])


@lru_cache(1_024)
def vocabulary_of(model: str | None) -> Vocabulary | None:
    """The vocabulary of a model; None where nobody publishes it.

    >>> vocabulary_of("openrouter/openai/gpt-5.1").name
    'o200k_base'
    """
    names = tuple(names_of(model))
    for vocabulary in VOCABULARIES:
        if any(matcher(vocabulary.models).match(name) for name in names):
            return vocabulary
    return None
