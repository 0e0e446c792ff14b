"""Where the keys of a TOML text stand: tomllib reads it, but does not say."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from typing import Any, Final, TypeAlias

#: Keys and indexes from the top of a file down to one of its values.
KeyPath: TypeAlias = tuple[str | int, ...]


def lines_of(text: str) -> dict[KeyPath, int]:
    r"""The line, from 1, of each key and item of a TOML text; the first one of each counts.

    Args:
        text: well-formed, as tomllib has found; lines end with ``\n``.

    Raises:
        ValueError: it is not.

    >>> lines_of('[[prices]]\nmodel = "x"')
    {('prices',): 1, ('prices', 0): 1, ('prices', 0, 'model'): 2}
    """
    return _Scan(text).lines()


class _Scan:
    """Goes through a text from key to key."""

    _BLANK: Final = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
    _KEY: Final = re.compile(
        r"""(?:[ \t]*(?:"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[\w-]+)[ \t]*\.?)+""", re.ASCII
    )
    _SCALAR: Final = re.compile(
        r'''"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}|\'\'\'(?:[^']|'{1,2}(?!'))*'{3,5}'''
        r"""|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^,\]}\n#]+""",
        re.DOTALL,
    )

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.line = 1
        self.seen = 0  # up to here lines are counted
        self.arrays: dict[KeyPath, int] = {}  # path of an array of tables → its last index

    def lines(self) -> dict[KeyPath, int]:
        found: dict[KeyPath, int] = {}
        table: KeyPath = ()
        while self.skip():
            line = self.here()
            if self.accept("[["):
                *above, last = self.key()
                array = (*self.resolved(above, found), last)
                self.arrays[array] = self.arrays.get(array, -1) + 1
                found.setdefault(array, line)
                table = (*array, self.arrays[array])
                found[table] = line
                self.accept("]]")
            elif self.accept("["):
                table = self.resolved(self.key(), found)
                self.accept("]")
            else:
                self.pair(table, found)
        return found

    def pair(self, table: KeyPath, found: dict[KeyPath, int]) -> None:
        """``key = value``."""
        line = self.here()
        path = table
        for part in self.key():
            path = (*path, part)
            found.setdefault(path, line)
        self.accept("=")
        self.value(path, found)

    def value(self, path: KeyPath, found: dict[KeyPath, int]) -> None:
        self.skip()
        if self.accept("["):
            self.listed("]", lambda i: self.item((*path, i), found))
        elif self.accept("{"):
            self.listed("}", lambda _: self.pair(path, found))
        elif scalar := self._SCALAR.match(self.text, self.at):
            self.at = scalar.end()

    def item(self, path: KeyPath, found: dict[KeyPath, int]) -> None:
        found[path] = self.here()
        self.value(path, found)

    def listed(self, end: str, element: Callable[[int], None]) -> None:
        index = 0
        while self.skip() and not self.accept(end):
            element(index)
            index += 1
            self.skip()
            self.accept(",")

    def key(self) -> list[str]:
        self.skip()
        match = self._KEY.match(self.text, self.at)
        if match is None:
            raise ValueError(f"no well-formed TOML: line {self.here()}")
        self.at = match.end()
        parts: list[str] = []
        nested: Any = tomllib.loads(f"{match[0]} = 0")
        while isinstance(nested, dict):
            ((part, nested),) = nested.items()
            parts.append(part)
        return parts

    def resolved(self, parts: list[str], found: dict[KeyPath, int]) -> KeyPath:
        """A header's path, within the last table of each array on its way."""
        path: KeyPath = ()
        for part in parts:
            path = (*path, part)
            found.setdefault(path, self.line)
            if path in self.arrays:
                path = (*path, self.arrays[path])
        return path

    def skip(self) -> bool:
        """Go past blanks and comments; whether there is more."""
        blank = self._BLANK.match(self.text, self.at)
        self.at = blank.end() if blank else self.at
        return self.at < len(self.text)

    def accept(self, mark: str) -> bool:
        self.skip()
        if not self.text.startswith(mark, self.at):
            return False
        self.at += len(mark)
        return True

    def here(self) -> int:
        self.line += self.text.count("\n", self.seen, self.at)
        self.seen = self.at
        return self.line
