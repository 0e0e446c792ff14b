"""Tools: what providers make of the functions that a model may call."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from otel_atm.tokenizers.tally import Tally

#: OpenAI, from gpt-4o on: for each function; for its properties, and each of them; for the
#: values of one, and each of them; after all functions. (OpenAI cookbook, "How to count tokens
#: with tiktoken".)
FUNCTION: Final = 7
PROPERTIES: Final = 3
PROPERTY: Final = 3
CHOICES: Final = -3
CHOICE: Final = 3
FUNCTIONS: Final = 12
#: Anthropic: the prompt that comes with tools → tokens where the model may choose, and where it
#: must call one. (Anthropic, "Tool use: pricing and tokens".)
TOOL_PROMPTS: Final = (
    (re.compile(r"claude-3-opus"), (530, 281)),
    (re.compile(r"claude-3-sonnet"), (159, 235)),
    (re.compile(r"claude-3(-5)?-haiku"), (264, 340)),
    (re.compile(r""), (346, 313)),
)


def openai_tools(tally: Tally, tools: Any) -> None:
    """Add the tools of a request to one of OpenAI's APIs; of the old one, its functions.

    Args:
        tally: to add to.
        tools: a list; functions, in ``function`` or as they are. Other tools are read as JSON.
    """
    known = [tool for tool in _list(tools) if isinstance(tool, Mapping)]
    for tool in known:
        function = tool.get("function", tool)
        if isinstance(function, Mapping) and "name" in function:
            tally.add(FUNCTION)
            told = str(function.get("description") or "").rstrip(".")
            tally.text(f"{function['name']}:{told}")
            _schema(tally, function.get("parameters"))
        else:
            tally.json(tool)
    if known:
        tally.add(FUNCTIONS)


def _schema(tally: Tally, schema: Any) -> None:
    if not isinstance(schema, Mapping):
        return
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and properties:
        tally.add(PROPERTIES)
        for name, each in properties.items():
            _property(tally, name, each if isinstance(each, Mapping) else {})
    for inner in ("items", "additionalProperties"):
        _schema(tally, schema.get(inner))
    for choice in ("anyOf", "oneOf", "allOf"):
        for each in _list(schema.get(choice)):
            _schema(tally, each)
    definitions = schema.get("$defs")
    if isinstance(definitions, Mapping):
        for each in definitions.values():
            _schema(tally, each)


def _property(tally: Tally, name: Any, schema: Mapping[str, Any]) -> None:
    tally.add(PROPERTY)
    choices = _list(schema.get("enum"))
    if choices:
        tally.add(CHOICES)
    for choice in choices:
        tally.add(CHOICE)
        tally.text(str(choice))
    told = str(schema.get("description") or "").rstrip(".")
    tally.text(f"{name}:{schema.get('type', '')}:{told}")
    _schema(tally, schema)


def anthropic_tools(tally: Tally, tools: Any, choice: Any, model: str) -> None:
    """Add the tools of a request to Anthropic's API: as JSON, and a prompt that explains them.

    Args:
        tally: to add to.
        tools: a list.
        choice: as ``tool_choice`` has it, or None.
        model: in lower case.
    """
    known = _list(tools)
    for tool in known:
        tally.json(tool)
    if known:
        must = isinstance(choice, Mapping) and choice.get("type") in ("any", "tool")
        tally.add(next(prompt for name, prompt in TOOL_PROMPTS if name.search(model))[must])


def _list(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list | tuple) else ()
