from __future__ import annotations

import json
import tomllib
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from otel_atm.config_file import MAX_BYTES, Node, Problems, load, parse
from otel_atm.errors import BudgetError, ConfigurationError

YAML = """\
# a comment
title: "a # b"
list:
  - name: x
    when: 2026-01-01

  - [1,
     2]
on: {a: 1,
     b: "]"}
"""
TOML = '''\
# a comment
title = "a # b"
x."y.z" = 1
[[list]]
name = 'x'   # another
when = 2026-01-01
[list.sub]
"a]" = """
[no.header]
\\"""
key = 1
"""
[[list]]
[list.sub]
deep = [ {a = 1, b = "]"},
  # between
  {a = 2}, [
    3 ],
]
[ other . "table" ]
literal = \'\'\'
\'quoted\'\'\'\'
float = 1e-3
'''


def lines(node: Node, name: str = "") -> dict[str, int]:
    """Path → line, of all that is in a file."""
    found = {name: node.line} if name else {}
    for key, field in node.fields.items():
        found |= lines(field, f"{name}.{key}".lstrip("."))
    for index, item in enumerate(node.items):
        found |= lines(item, f"{name}[{index}]")
    return found


def told(path: Path) -> str:
    with pytest.raises(ConfigurationError) as raised:
        load(path)
    return str(raised.value).replace(f"{path.parent}/", "")


def test_yaml_has_its_values_and_lines() -> None:
    root = parse("f.yaml", YAML)
    assert root.value == {
        "title": "a # b",
        "list": [{"name": "x", "when": date(2026, 1, 1)}, [1, 2]],
        "on": {"a": 1, "b": "]"},
    }
    assert lines(root) == {
        "title": 2,
        "list": 3,
        "list[0]": 4,
        "list[0].name": 4,
        "list[0].when": 5,
        "list[1]": 7,
        "list[1][0]": 7,
        "list[1][1]": 8,
        "on": 9,
        "on.a": 9,
        "on.b": 10,
    }


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_toml_has_its_values_and_lines(end: str) -> None:
    root = parse("f.toml", TOML.replace("\n", end))
    assert root.value == tomllib.loads(TOML)
    assert lines(root) == {
        "title": 2,
        "x": 3,
        "x.y.z": 3,
        "list": 4,
        "list[0]": 4,
        "list[0].name": 5,
        "list[0].when": 6,
        "list[0].sub": 7,
        "list[0].sub.a]": 8,
        "list[1]": 13,
        "list[1].sub": 14,
        "list[1].sub.deep": 15,
        "list[1].sub.deep[0]": 15,
        "list[1].sub.deep[0].a": 15,
        "list[1].sub.deep[0].b": 15,
        "list[1].sub.deep[1]": 17,
        "list[1].sub.deep[1].a": 17,
        "list[1].sub.deep[2]": 17,
        "list[1].sub.deep[2][0]": 18,
        "other": 20,
        "other.table": 20,
        "other.table.literal": 21,
        "other.table.float": 23,
    }


texts = st.text(st.characters(codec="utf-8", exclude_characters="\x7f\x85"), max_size=8)
words = st.text(st.sampled_from("ab\"'.#[]={} \\,\t"), max_size=6)
values = st.recursive(
    st.booleans() | st.integers(-(1 << 63), 1 << 62) | texts | words,
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)
documents = st.dictionaries(
    texts | words, values | st.dictionaries(words, values, max_size=3), max_size=5
)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + "".join(f"\n {_toml(each)}, # ]\n" for each in value) + "]"
    return json.dumps(value, ensure_ascii=True) if not isinstance(value, str) else _quoted(value)


def _quoted(text: str) -> str:
    return (
        '"'
        + "".join(
            f"\\U{ord(character):08x}" if character in '"\\' or character < " " else character
            for character in text
        )
        + '"'
    )


@given(documents)
def test_the_scan_of_toml_finds_each_key_on_its_line(document: dict[str, Any]) -> None:
    text, expected = "#\n", {}
    for key, value in document.items():
        expected[key] = text.count("\n") + 1
        text += f"{_quoted(key)} = {_toml(value)}\n"
    root = parse("f.toml", text)
    assert root.value == document
    assert {key: field.line for key, field in root.fields.items()} == expected


@given(st.text())
def test_whatever_is_in_a_file_is_read_or_told(text: str) -> None:
    for name in ("f.yaml", "f.toml"):
        with suppress(ConfigurationError):
            parse(name, text)


@given(st.dictionaries(words, values | st.dictionaries(words, values, max_size=3), max_size=5))
def test_yaml_reads_what_yaml_writes(document: dict[str, Any]) -> None:
    text = yaml.safe_dump(document, allow_unicode=True)
    if "&id" not in text:
        assert parse("f.yaml", text).value == document


def test_parts_are_reached_by_key_and_index() -> None:
    root = parse("f.yaml", YAML)
    assert root["list"][0]["name"].value == "x"
    assert (root.get("title"), root.get("nothing")) == (root.fields["title"], None)
    assert repr(root["list"][1]) == "Node([1, 2], line=7)"


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("f.yaml", b"", "f.yaml: is empty"),
        ("f.toml", b" \n\n", "f.toml: is empty"),
        ("f.yaml", b"# only a comment\n", "f.yaml: is empty"),
        ("f.yaml", b"a: 1\nb: \xff\n", "f.yaml:2: is not a text in UTF-8"),
        ("f.toml", b"a = 1\n\0", "f.toml:2: is not a text: it has a NUL byte"),
        ("f.yaml", b"a" * (MAX_BYTES + 1), "f.yaml: is larger than 1000000 bytes"),
        ("f.yaml", b"a: 1\na: 2\n", "f.yaml:2: a: is there twice"),
        ("f.yaml", b"a: 1\n? [b]\n: 2\n", "f.yaml:2: expected a word for a key"),
        (
            "f.yaml",
            b"a: &x 1\nb: *x\n",
            "f.yaml:2: anchors and aliases (&name, *name) are not read here",
        ),
        (
            "f.yaml",
            b"a: 1\nb: [\n",
            "f.yaml:3: no YAML: expected the node content, but found '<stream end>'",
        ),
        ("f.yaml", b"a: 1\n---\nb: 2\n", "f.yaml:2: no YAML: but found another document"),
        ("f.yaml", b"\na: 2026-02-30\n", "f.yaml:2: '2026-02-30': day is out of range for month"),
        ("f.toml", b"a = 1\nb = \n", "f.toml:2: no TOML: Invalid value"),
        ("f.toml", b"a = 1\n\na = 2", "f.toml:3: no TOML: Cannot overwrite a value"),
        ("f.yaml", b"[" * 50_000, "f.yaml: is nested too deeply"),
        ("f.toml", b"a = " + b"[" * 50_000, "f.toml: is nested too deeply"),
        ("f.json", b"{}", "f.json: expected a file that ends in .yaml, .yml, .toml"),
    ],
    ids=range(17),
)
def test_what_cannot_be_read_is_told_with_its_line(
    name: str, content: bytes, problem: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    assert told(tmp_path / name) == problem


def test_code_in_yaml_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text("a: !!python/object/apply:os.getcwd []\n")
    (tmp_path / "g.yaml").write_text("a: !!python/name:os.getcwd x\n")
    assert load(tmp_path / "f.yaml").value == {"a": []}
    assert "g.yaml:1: no YAML: could not determine a constructor" in told(tmp_path / "g.yaml")


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert load(tmp_path / "f.yaml").value == {"a": 1}


def test_a_folder_and_a_missing_file_are_told(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").mkdir()
    assert told(tmp_path / "f.yaml") == "f.yaml: cannot be read: Is a directory"
    assert told(tmp_path / "g.yaml") == "g.yaml: cannot be read: No such file or directory"


def test_problems_are_told_together_in_the_order_of_the_file() -> None:
    problems = Problems("f.yaml", BudgetError)
    problems.check()
    problems.add(Node("x" * 100, 7), "limit", "expected a number")
    problems.note(2, "name: is missing")
    problems.unknown_keys(
        Node({}, 1, {"limti": Node(None, 3), "unit": Node(1, 4)}), ("limit", "unit")
    )
    with pytest.raises(BudgetError) as raised:
        problems.check()
    assert str(raised.value).splitlines() == [
        "f.yaml:2: name: is missing",
        "f.yaml:3: limti: nothing: unknown key; expected limit, unit; did you mean 'limit'?",
        f"f.yaml:7: limit: '{'x' * 58}…: expected a number",
    ]


def test_of_very_many_problems_the_first_are_told() -> None:
    problems = Problems("f.yaml")
    for line in range(30, 0, -1):
        problems.note(line, "wrong")
    with pytest.raises(ConfigurationError) as raised:
        problems.check()
    told = str(raised.value).splitlines()
    assert (len(problems), len(told), told[0], told[-1]) == (
        30,
        21,
        "f.yaml:1: wrong",
        "f.yaml: and 10 more",
    )
