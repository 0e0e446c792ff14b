"""Reading pages: their fences, tables, links and headings. Each check returns what is wrong."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"

_FENCE: Final = re.compile(r"^( *)(`{3,})([\w+-]*)[^\n]*\n(.*?)^\1\2 *$", re.MULTILINE | re.DOTALL)
_MARKS: Final = re.compile(r"(?:<!-- (?:(?!-->).)*-->\s*)+\Z", re.DOTALL)
_MARK: Final = re.compile(r"<!-- ((?:(?!-->).)*?) ?-->", re.DOTALL)
_LINK: Final = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_IMAGE: Final = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#{1,6} +(.+?)\s*$", re.MULTILINE)
_CODE: Final = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True, slots=True)
class Step:
    """Something that a page does.

    Attributes:
        kind: a block of Python, commands on a console, or what the step before has printed.
        text: of the fence.
        line: of its first line on the page, from 1.
        expect: texts that its output must contain.
    """

    kind: Literal["python", "console", "output"]
    text: str
    line: int
    expect: tuple[str, ...] = ()


def pages() -> list[Path]:
    """README and all pages of the documentation."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def title(page: Path) -> str:
    """As the tests name it."""
    return page.relative_to(ROOT).as_posix()


def steps(text: str) -> list[Step]:
    """What a page does: all its Python, and the fences that are marked to be run or compared."""
    return list(_steps(text))


def _steps(text: str) -> Iterator[Step]:
    for fence in _FENCE.finditer(text):
        language, body = fence[3], _dedent(fence[4], len(fence[1]))
        line = text.count("\n", 0, fence.start(4)) + 1
        marks = _marks_before(text, fence.start())
        expect = tuple(mark[8:] for mark in marks if mark.startswith("expect: "))
        if language in ("python", "py"):
            yield Step("python", body, line, expect)
        elif language == "console" and "run" in marks:
            yield Step("console", body, line, expect)
        elif language == "text" and "output" in marks:
            yield Step("output", body, line)


def _marks_before(text: str, at: int) -> list[str]:
    found = _MARKS.search(text, 0, at)
    return _MARK.findall(found[0]) if found else []


def _dedent(text: str, spaces: int) -> str:
    return re.sub(rf"^ {{{spaces}}}", "", text, flags=re.MULTILINE) if spaces else text


def without_code(text: str) -> str:
    """A page without its fences."""
    return _FENCE.sub("", text)


def headings(text: str) -> list[str]:
    """As written."""
    return _HEADING.findall(without_code(text))


def table_rows(text: str) -> list[list[str]]:
    """The cells of all rows of all tables, but for the line below each head."""
    lines = [line for line in without_code(text).splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in rows if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next of its level or above."""
    found = re.search(rf"^(#+) {re.escape(heading)}\s*$", text, re.MULTILINE)
    if found is None:
        return ""
    rest = text[found.end() :]
    following = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: following.start()] if following else rest


# Checks ---------------------------------------------------------------------------------------


def undocumented(names: Iterable[str], text: str) -> list[str]:
    """Names that a page does not give as code, alone or at the start of a code span."""
    given = {word for code in _CODE.findall(without_code(text)) for word in code.split()}
    return [name for name in names if name not in given]


def row_problems(expected: Mapping[str, tuple[str, ...]], text: str) -> list[str]:
    """Where tables whose first cell is a name in backticks differ from what is expected.

    Args:
        expected: name → the cells that follow it, as far as they are given.
        text: of the page or section.
    """
    rows = {row[0].strip("`"): tuple(row[1:]) for row in table_rows(text) if row[0][:1] == "`"}
    problems = [f"{name} is missing" for name in expected if name not in rows]
    problems += [f"{name} does not exist" for name in rows if name not in expected]
    for name, cells in expected.items():
        given = tuple(cell.strip("`") for cell in rows.get(name, cells)[: len(cells)])
        if given != cells:
            problems.append(f"{name} is {given}, not {cells}")
    return problems


def order_problems(expected: Iterable[str], text: str) -> list[str]:
    """Whether the names of a section's tables stand in this order."""
    rows = [row[0].strip("`") for row in table_rows(text) if row[0][:1] == "`"]
    wanted = list(expected)
    return [] if rows == wanted else [f"the order is {rows}, not {wanted}"]


def link_problems(page: Path, text: str) -> list[str]:
    """Relative links of a page that lead nowhere, and links to other hosts' pictures."""
    problems = []
    for link in _LINK.findall(without_code(text)) + _IMAGE.findall(without_code(text)):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = (page.parent / path).resolve() if path else page
        if target != page and not target.exists():
            problems.append(f"{link}: there is no {path}")
        elif DOCS in page.parents and DOCS not in target.parents:
            problems.append(f"{link}: leads out of the documentation")
        elif anchor and target.suffix == ".md":
            there = text if target == page else target.read_text("utf-8")
            if anchor not in anchors(there):
                problems.append(f"{link}: there is no heading #{anchor}")
    return problems


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as Python-Markdown makes them, and the explicit ones."""
    found = set(re.findall(r"\{ ?#([\w.-]+) ?\}", text))
    found |= set(re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE))  # mkdocstrings
    for heading in headings(text):
        plain = re.sub(r"[`*]|\{.*?\}", "", heading)
        ascii_ = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
        found.add(re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", ascii_).strip().lower()))
    return found


def nav_problems(nav: Any, files: Collection[str]) -> list[str]:
    """Pages that the navigation leaves out, and those that it names but are not there."""
    listed = list(_leaves(nav))
    return (
        [f"{name} is not in nav" for name in files if name not in listed]
        + [f"{name} is in nav, but there is no such page" for name in listed if name not in files]
        + [f"{name} is twice in nav" for name in set(listed) if listed.count(name) > 1]
    )


def _leaves(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for item in nav.values() if isinstance(nav, dict) else nav:
            yield from _leaves(item)
