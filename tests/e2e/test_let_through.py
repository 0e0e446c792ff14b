"""Anthropic's own spans pass over a refusal: the call is sent, so it has to be metered."""

from __future__ import annotations

from typing import Any

import otel_atm as atm
from otel_atm.testing import ProviderServer
from tests.e2e.conftest import Program

ASKING: dict[str, Any] = {
    "model": "claude-opus-5",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "How are you?"}],
}


def test_what_cannot_be_refused_is_counted_to_the_token(
    blank: Program, server: ProviderServer, native_claude: Any
) -> None:
    blank.meter("20 tokens / day per user")
    blank.trouble = ["passes over refusals"]
    with atm.context(user="ann"):
        for _ in range(3):
            native_claude.messages.create(**ASKING)
    rows = blank.rows()
    told = server.total_told()
    assert server.requests == 3
    assert [row["decision"] for row in rows] == ["allowed"] * 3
    assert sum(row["total_tokens"] for row in rows) == told.input + told.output
    marks = [row["attributes"].get("would_refuse") for row in rows]
    assert marks == [None, "20 tokens / day per user", "20 tokens / day per user"]
