"""Forms: whatever was asked before at a place, a body is read as if it were the first there."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_atm.guards import Hosts, Request
from otel_atm.guards.places import Place, Places
from otel_atm.guards.requests import asked_at

HOST, PATH = "api.openai.com", "/v1/chat/completions"
SAID = [{"role": "user", "content": "How are you?"}]


def place() -> Place:
    found = Places(Hosts()).find(HOST, PATH)
    assert found is not None
    return found


def fresh(body: bytes) -> Request | None:
    return asked_at(place(), HOST, body)


def plain(said: Any = SAID, **fields: Any) -> bytes:
    return orjson.dumps({"messages": said, "model": "gpt-5.1", **fields})


def test_a_second_body_of_a_form_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    here, bodies = place(), [plain([{"role": "user", "content": "x" * n}]) for n in (10, 4_000)]
    first = asked_at(here, HOST, bodies[0])
    whole = fresh(bodies[1])
    monkeypatch.setattr("otel_atm.guards.requests.orjson.loads", None)
    assert first is not None
    assert asked_at(here, HOST, bodies[1]) == whole
    with pytest.raises(TypeError):
        asked_at(here, HOST, plain(n=2))


HIDDEN = '],"max_tokens":9,"tools":['
TEXTS = [
    "How are you?",
    "日本語 ü",
    'say "],"model":"o9"}" twice',
    HIDDEN,
    '"type"',
    "[a], [b]",
    "a\nb\\n\t\\u0041",
]


@pytest.mark.parametrize(
    "body",
    [
        *[plain([{"role": "user", "content": text}]) for text in TEXTS],
        *[json.dumps({"messages": [text], "model": "gpt-5.1"}).encode() for text in TEXTS],
        *[
            json.dumps({"messages": [text], "model": "gpt-5.1"}, separators=(",", ":")).encode()
            for text in TEXTS
        ],
        b'{"messages":["a"],"max_tokens":9,"tools":["b"],"model":"gpt-5.1"}',
        b'{"messages":["a"] , "max_tokens":9,"tools":["b"],"model":"gpt-5.1"}',
        b'{"messages":["a"],"stream":true,"x":{"y":["b"],"model":"gpt-5.1"}}',
        b'{"messages":[["a"],["b"]],"model":"gpt-5.1"}',
        b'{"x":{"messages":["a"],"model":"gpt-5.1"}}',
        b'{"messages":[],"model":"gpt-5.1"}',
        b'{"messages":[{"type":"image_url","image_url":"x"}],"model":"gpt-5.1"}',
        b'{"messages":[{"type":"text","text":"x"}],"model":"gpt-5.1"}',
        b'{"messages":[{"type": "text","text":"x"}],"model":"gpt-5.1"}',
        b'{"messages":[{"type":"text"},{"type":"image","x":"y"}],"model":"gpt-5.1"}',
        b'{"messages":["%b"],"model":"gpt-5.1"}' % (b"A" * 20_000),
        plain(max_tokens=5),
        plain(stream=True),
        plain(system="be good"),
        b"]",
        b'],"model":"gpt-5.1"}',
        b"",
    ],
)
def test_what_came_before_changes_nothing(body: bytes) -> None:
    here = place()
    for before in (plain(), plain(stream=True), plain(max_tokens=9), b'{"messages":["x"]}'):
        asked_at(here, HOST, before)
    assert asked_at(here, HOST, body) == fresh(body)


FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["m", "a b", "", '"],"']),
        "messages": st.lists(st.sampled_from([*TEXTS, {"type": "file"}, ["x"], {"content": "y"}])),
        "max_tokens": st.integers(-1, 9),
        "stream": st.booleans(),
        "tools": st.lists(st.sampled_from(TEXTS), max_size=2),
        "system": st.sampled_from(TEXTS),
    },
)


@given(
    st.lists(st.tuples(FIELDS, st.permutations(range(6)), st.booleans()), min_size=2, max_size=6)
)
def test_nor_does_any_order_of_any_fields(asked: list[tuple[dict[str, Any], Any, bool]]) -> None:
    here = place()
    for fields, order, compact in asked:
        items = list(fields.items())
        body = dict(items[at] for at in order if at < len(items))
        written = orjson.dumps(body) if compact else json.dumps(body).encode()
        assert asked_at(here, HOST, written) == fresh(written)


def test_what_is_remembered_is_bounded_and_holds_nothing_that_is_said() -> None:
    here = place()
    for number in range(1_000):
        asked_at(here, HOST, plain(user=f"user-{number}"))
    asked_at(here, HOST, plain(system="my secret plan"))
    assert len(here.forms._known) <= 128
    known = here.forms._known
    assert not any(b"secret" in tail for tail in {**known._old, **known._young})
