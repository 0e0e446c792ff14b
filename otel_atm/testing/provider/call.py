"""Tool calls."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from otel_atm.testing.provider.body import Body, branch
from otel_atm.testing.provider.schema import sample


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call: the tool's name and its arguments as JSON."""

    name: str
    arguments: str


def call_of(tool: Body, field: str) -> Call:
    """A call of `tool`, with arguments that satisfy the JSON schema in its `field`."""
    arguments = orjson.dumps(sample(branch(tool, field))).decode()
    return Call(str(tool.get("name", "")), arguments)
