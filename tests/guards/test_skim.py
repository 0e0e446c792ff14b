from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_atm.guards.skim import Skimmer

NAMES = ("model", "usage", "stream")
SKIMMER = Skimmer(NAMES)

texts = st.text(st.sampled_from('"\\{}[]:, modelusage\n'), max_size=12) | st.sampled_from(NAMES)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(texts | st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=15,
)
bodies = st.dictionaries(texts | st.sampled_from(NAMES), values, max_size=6)


@given(body=bodies, style=st.sampled_from([None, orjson.OPT_INDENT_2]))
def test_it_finds_what_parsing_finds(body: dict[str, Any], style: int | None) -> None:
    text = orjson.dumps(body, option=style)
    wanted = {name: body[name] for name in NAMES if name in body}
    assert SKIMMER.head(text) == wanted
    assert SKIMMER.tail(text) == wanted


@given(body=bodies, inner=bodies)
def test_it_finds_what_parsing_finds_one_level_deeper(
    body: dict[str, Any], inner: dict[str, Any]
) -> None:
    body = {name: each for name, each in body.items() if not isinstance(each, (dict, list))}
    text = orjson.dumps({**body, "response": inner})
    wanted = {name: inner[name] for name in NAMES if name in inner}
    assert SKIMMER.head(text, depth=2) == wanted
    assert SKIMMER.tail(text, depth=2) == wanted


@given(body=bodies, size=st.integers(0, 300))
def test_wherever_the_beginning_is_missing_the_end_tells_nothing_false(
    body: dict[str, Any], size: int
) -> None:
    text = orjson.dumps(body)
    found = SKIMMER.tail(text[-size:] if size else b"")
    wanted = {name: body[name] for name in NAMES if name in body}
    assert found.items() <= wanted.items()


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"1e5", None),
        (b"1.5", 1.5),
        (b"-3", -3),
        (b"9" * 30, None),
        (b'"' + b"x" * 600 + b'"', ""),
        (b"[" + b"1," * 9_000 + b"1]", []),
        (b'{"a":' + b"1" * 9_000 + b"}", {}),
        (b"nonsense", None),
        (b'{"a" 1}', None),
    ],
)
def test_what_is_long_is_there_but_empty(value: bytes, found: Any) -> None:
    text = b'{"usage": ' + value + b"}"
    assert SKIMMER.head(text) == {"usage": found}
