"""Skim: a few fields of JSON that is too large to be parsed, from where it begins and ends.

What makes it exact: within a JSON string every quote is escaped, so ``"usage":`` behind anything
but a backslash is a key. How deep it lies is told by the brackets between it and the nearer end
of the text, outside strings; so neither a quoted text nor an object of the same name in a tool
call is taken for the field.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import orjson

#: A string, without the backtracking that a hostile one could make quadratic.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]]', re.DOTALL)
_SCALAR: Final = re.compile(rb"true|false|null|-?\d{1,18}(?:\.\d{1,18})?(?![\d.eE])")
#: Bytes of the longest value that is read.
_MOST_VALUE: Final = 8_192
_MOST_STRING: Final = 512

Fields = dict[str, Any]


class Skimmer:
    """Finds fields by their names.

    Args:
        names: of fields, plain ASCII.
    """

    __slots__ = ("_key",)

    def __init__(self, names: Iterable[str]) -> None:
        either = b"|".join(re.escape(name.encode()) for name in sorted(set(names)))
        # the quote first: a regex with a plain beginning is searched for quickly
        self._key = re.compile(rb'"(?<!\\")(' + either + rb')"\s*:\s*')

    def head(self, text: bytes, depth: int = 1) -> Fields:
        """What the beginning of a JSON text has at a depth; 1 is within its outermost object.

        A list or an object that is long or cut is there, but empty.
        """
        found: Fields = {}
        level = place = 0
        for key in self._key.finditer(text):
            level += _opened(text[place : key.start()])
            place = key.end()
            if level == depth:
                _keep(found, key, text)
        return found

    def tail(self, text: bytes, depth: int = 1) -> Fields:
        """The same for its end; of two fields with one name, the last counts."""
        found: Fields = {}
        level, place = 0, len(text)
        for key in reversed(list(self._key.finditer(text))):
            level -= _opened(text[key.end() : place])
            place = key.start()
            if level == depth:
                _keep(found, key, text)
        return found

    def both(self, text: bytes, window: int) -> Fields:
        """What the first and the last `window` bytes have at depth 1; the end counts for more."""
        return {**self.head(text[:window]), **self.tail(text[-window:])}


def _opened(text: bytes) -> int:
    """How many more brackets are opened than closed, outside strings."""
    # without escaped quotes, every other part between quotes is a string; the text begins outside
    parts = text.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
    bare = b"".join(parts[::2])
    return bare.count(b"{") + bare.count(b"[") - bare.count(b"}") - bare.count(b"]")


def _keep(found: Fields, key: re.Match[bytes], text: bytes) -> None:
    name = key[1].decode()
    if name not in found:
        found[name] = _value(text, key.end())


def _value(text: bytes, at: int) -> Any:
    """The value that begins there: whole if it is short, else empty; None if it is no JSON."""
    first = text[at : at + 1]
    if first in (b"{", b"["):
        end = _end_of(text, at)
        return _parsed(text[at:end]) if end else ({} if first == b"{" else [])
    if first == b'"':
        string = _STRING.match(text, at, at + _MOST_STRING)
        return _parsed(string[0]) if string else ""
    scalar = _SCALAR.match(text, at)
    return _parsed(scalar[0]) if scalar else None


def _end_of(text: bytes, at: int) -> int:
    """Where the bracket that opens there is closed; 0 if that is too far away."""
    level = 0
    for token in _TOKEN.finditer(text, at, at + _MOST_VALUE):
        mark = token[0]
        if mark in (b"{", b"["):
            level += 1
        elif mark in (b"}", b"]"):
            level -= 1
            if level == 0:
                return token.end()
    return 0


def _parsed(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
