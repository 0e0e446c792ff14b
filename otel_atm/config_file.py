"""Files of settings, YAML or TOML, in which every key knows its line.

A reader walks the `Node`s, notes all that is wrong in `Problems` and raises once, so that whoever
writes a file sees every mistake of it at the first start.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from otel_atm.budget_text import nearest
from otel_atm.errors import ConfigurationError
from otel_atm.toml_lines import KeyPath, lines_of

#: Bytes; a larger file is taken for a mistake.
MAX_BYTES: Final = 1_000_000
_SHOWN_PROBLEMS: Final = 20
_SHOWN_CHARACTERS: Final = 60


class Node:
    """A part of a file.

    Attributes:
        value: as Python has it: a str, int, float, bool, None, date, datetime or time; a dict
            with str keys; a list. What is inside of it, too, without lines.
        line: from 1, of its key; without a key: where it starts.
        fields: of a mapping: key → node, in the order of the file; else empty.
        items: of a list: its nodes; else empty.
    """

    __slots__ = ("fields", "items", "line", "value")

    def __init__(
        self,
        value: Any,
        line: int,
        fields: Mapping[str, Node] | None = None,
        items: tuple[Node, ...] = (),
    ) -> None:
        self.value, self.line, self.fields, self.items = value, line, fields or {}, items

    def __getitem__(self, part: str | int) -> Node:
        return self.items[part] if isinstance(part, int) else self.fields[part]

    def get(self, key: str) -> Node | None:
        """The field of a mapping, or None."""
        return self.fields.get(key)

    def __repr__(self) -> str:
        return f"Node({self.value!r}, line={self.line})"


class Problems:
    """What is wrong with one file.

    Args:
        path: of the file, as the messages name it.
        error: what to raise.
    """

    def __init__(
        self, path: str | Path, error: type[ConfigurationError] = ConfigurationError
    ) -> None:
        self.path, self.error = path, error
        self._found: list[tuple[int, str]] = []

    def add(self, node: Node, key: str, expected: str) -> None:
        """Note ``file:line: key: value: expected``."""
        self._found.append((node.line, f"{key}: {_shown(node.value)}: {expected}"))

    def note(self, line: int, problem: str) -> None:
        """Note ``file:line: problem``, where no one value is to blame."""
        self._found.append((line, problem))

    def unknown_keys(self, node: Node, known: tuple[str, ...]) -> None:
        """Note each key of a mapping that is not among the known ones, with the nearest of them."""
        for key, field in node.fields.items():
            if key not in known:
                self.add(
                    field, key, f"unknown key; expected {', '.join(known)}" + nearest(key, known)
                )

    def check(self) -> None:
        """Raise one error that tells all problems, in the order of the file, if there are any."""
        if not self._found:
            return
        found = sorted(self._found, key=lambda problem: problem[0])
        lines = [f"{self.path}:{line}: {text}" for line, text in found[:_SHOWN_PROBLEMS]]
        if more := len(found) - len(lines):
            lines.append(f"{self.path}: and {more} more")
        raise self.error("\n".join(lines))

    def __len__(self) -> int:
        return len(self._found)


def load(path: str | os.PathLike[str]) -> Node:
    """Read a file.

    Args:
        path: ends in ``.yaml``, ``.yml`` or ``.toml``.

    Raises:
        ConfigurationError: it is missing, empty, no text in UTF-8, larger than `MAX_BYTES` or not
            well-formed; a key is there twice; its YAML has anchors and aliases.
    """
    return parse(path, read_text(path))


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        ConfigurationError: it is missing, empty, no text in UTF-8 or larger than `MAX_BYTES`.
    """
    with _telling(path):
        return _text_of(Path(path))


def parse(path: str | os.PathLike[str], text: str) -> Node:
    """Read the text of a file; `path` tells the format.

    Raises:
        ConfigurationError: as `load` does for what is in a file.
    """
    parser = _PARSERS.get(Path(path).suffix.lower())
    if parser is None:
        raise ConfigurationError(f"{path}: expected a file that ends in {', '.join(_PARSERS)}")
    with _telling(path):
        return parser(text)


@contextmanager
def _telling(path: str | os.PathLike[str]) -> Iterator[None]:
    """Errors say where."""
    try:
        yield
    except _Malformed as wrong:
        where = f"{path}:{wrong.line}" if wrong.line else f"{path}"
        raise ConfigurationError(f"{where}: {wrong}") from None
    except RecursionError:
        raise ConfigurationError(f"{path}: is nested too deeply") from None


class _Malformed(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, problem: str, line: int = 0) -> None:
        super().__init__(problem)
        self.line = line


def _text_of(source: Path) -> str:
    try:
        with source.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as failed:
        raise _Malformed(f"cannot be read: {failed.strerror or failed}") from None
    if len(content) > MAX_BYTES:
        raise _Malformed(f"is larger than {MAX_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        line = content.count(b"\n", 0, wrong.start) + 1
        raise _Malformed("is not a text in UTF-8", line) from None
    if "\0" in text:
        raise _Malformed(
            "is not a text: it has a NUL byte", text.count("\n", 0, text.index("\0")) + 1
        )
    if not text.strip():
        raise _Malformed("is empty")
    return text


def _shown(value: object) -> str:
    if isinstance(value, (dict, list)) and not value:
        return "nothing"
    if isinstance(value, dict):
        return f"a mapping of {', '.join(list(value)[:3])}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = repr(value) if isinstance(value, str) else "nothing" if value is None else str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"


# YAML -----------------------------------------------------------------------------------------


def _parse_yaml(text: str) -> Node:
    import yaml

    class Loader(yaml.SafeLoader):
        """Without aliases: a few lines of them can stand for more than a memory holds."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                line = self.line + 1
                raise _Malformed("anchors and aliases (&name, *name) are not read here", line)
            return super().compose_node(parent, index)

    try:
        loader = Loader(text)
        root = loader.get_single_node()
        if root is None:
            raise _Malformed("is empty")
        return _yaml_node(root, root.start_mark.line + 1, loader)
    except yaml.MarkedYAMLError as wrong:
        mark = wrong.problem_mark or wrong.context_mark
        raise _Malformed(f"no YAML: {wrong.problem}", mark.line + 1 if mark else 0) from None
    except (yaml.YAMLError, ValueError) as wrong:
        problem = str(wrong).splitlines()[0]
        raise _Malformed(f"no YAML: {problem}") from None


def _yaml_node(node: Any, line: int, loader: Any) -> Node:
    """A composed node as ours; `line` is that of its key."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        fields: dict[str, Node] = {}
        for key, value in node.value:
            at = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise _Malformed("expected a word for a key", at)
            if key.value in fields:
                raise _Malformed(f"{key.value}: is there twice", at)
            fields[key.value] = _yaml_node(value, at, loader)
        return Node({key: field.value for key, field in fields.items()}, line, fields)
    if isinstance(node, yaml.SequenceNode):
        items = tuple(_yaml_node(item, item.start_mark.line + 1, loader) for item in node.value)
        return Node([item.value for item in items], line, items=items)
    try:
        return Node(loader.construct_object(node), line)
    except ValueError as wrong:  # a date such as 2026-02-30
        raise _Malformed(f"{_shown(node.value)}: {wrong}", line) from None


# TOML -----------------------------------------------------------------------------------------


def _parse_toml(text: str) -> Node:
    text = text.replace("\r\n", "\n")
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        at = re.search(r"at line (\d+), column", str(wrong))
        problem = str(wrong).partition(" (at ")[0]
        line = int(at[1]) if at else text.count("\n") + 1
        raise _Malformed(f"no TOML: {problem}", line) from None
    return _toml_node(data, (), 1, lines_of(text))


def _toml_node(value: Any, path: KeyPath, above: int, lines: Mapping[KeyPath, int]) -> Node:
    line = lines.get(path, above)
    if isinstance(value, dict):
        fields = {key: _toml_node(each, (*path, key), line, lines) for key, each in value.items()}
        return Node(value, line, fields)
    if isinstance(value, list):
        items = tuple(_toml_node(each, (*path, i), line, lines) for i, each in enumerate(value))
        return Node(value, line, items=items)
    return Node(value, line)


_PARSERS: Final[Mapping[str, Callable[[str], Node]]] = {
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
    ".toml": _parse_toml,
}
