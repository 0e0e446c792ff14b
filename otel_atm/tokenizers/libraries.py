"""Libraries: tokenizers built from files that were checked, once for a process.

tiktoken would fetch a file that it misses; so its encodings are built here, of bytes that are in
hand, with the patterns and special tokens of its own definitions.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import Any, Final, TypeAlias

from otel_atm.tokenizers.vocabularies import Vocabulary

#: How many tokens a text is; raises what its library raises.
Counter: TypeAlias = Callable[[str], int]

#: Characters that tiktoken gets at once. A million blanks overflow the stack of its regular
#: expressions, which ends in a panic that no ``except Exception`` catches.
MOST_AT_ONCE: Final = 200_000
#: Where a text can be cut and has as many tokens as before: behind a word, before a blank that
#: belongs to the next one.
_BETWEEN_WORDS: Final = re.compile(r"[^\W\d_](?= [^\W\d_])")
_NEARBY: Final = 2_000


def is_installed(library: str) -> bool:
    """Whether a package is there; it is not imported."""
    try:
        return find_spec(library) is not None
    except (ImportError, ValueError):
        return False


def build(vocabulary: Vocabulary, content: bytes) -> Counter:
    """A counter for a vocabulary. Imports its library, and takes up to seconds.

    Args:
        vocabulary: which.
        content: of its file.

    Raises:
        Exception: whatever the library raises for a file or version that does not fit.
    """
    return _BUILDERS[vocabulary.library](vocabulary.name, content)


def pieces(text: str) -> list[str]:
    """A long text in parts of at most `MOST_AT_ONCE` characters, cut between words if it can be."""
    parts, begin = [], 0
    while len(text) - begin > MOST_AT_ONCE:
        end = begin + MOST_AT_ONCE
        near = [found.end() for found in _BETWEEN_WORDS.finditer(text, end - _NEARBY, end)]
        parts.append(text[begin : near[-1] if near else end])
        begin += len(parts[-1])
    return [*parts, text[begin:]]


def _tiktoken(name: str, content: bytes) -> Counter:
    import tiktoken

    encoding = tiktoken.Encoding(**_definition(name, _ranks(content)))

    def count(text: str) -> int:
        if len(text) <= MOST_AT_ONCE:
            return len(encoding.encode_ordinary(text))
        return sum(len(encoding.encode_ordinary(part)) for part in pieces(text))

    return count


def _ranks(content: bytes) -> dict[bytes, int]:
    """The tokens of a file of tiktoken's: each line has one in base64, and its rank."""
    pairs = (line.split() for line in content.splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def _definition(name: str, ranks: dict[bytes, int]) -> dict[str, Any]:
    """What `tiktoken.Encoding` is made of, as tiktoken itself defines it.

    In a copy of its module, the function that would load a file from a cache or the network gives
    the tokens that are here.
    """
    spec = find_spec("tiktoken_ext.openai_public")
    if spec is None or spec.loader is None:
        raise ImportError("tiktoken_ext.openai_public", name="tiktoken_ext.openai_public")
    definitions: Any = module_from_spec(spec)
    spec.loader.exec_module(definitions)
    definitions.load_tiktoken_bpe = lambda *_, **__: ranks
    defined: dict[str, Any] = definitions.ENCODING_CONSTRUCTORS[name]()
    return defined


def _sentencepiece(_: str, content: bytes) -> Counter:
    library = import_module("sentencepiece")  # ships no types
    processor = library.SentencePieceProcessor(model_proto=content)
    return lambda text: len(processor.encode(_without_surrogates(text)))


def _tokenizers(_: str, content: bytes) -> Counter:
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_str(content.decode())
    return lambda text: len(
        tokenizer.encode(_without_surrogates(text), add_special_tokens=False).ids
    )


def _without_surrogates(text: str) -> str:
    """Halves of characters become "?": no provider can be sent them."""
    return text.encode("utf-8", "replace").decode()


_BUILDERS: Final[dict[str, Callable[[str, bytes], Counter]]] = {
    "tiktoken": _tiktoken,
    "sentencepiece": _sentencepiece,
    "tokenizers": _tokenizers,
}
