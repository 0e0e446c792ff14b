"""The agents: ordinary code around the `openai` client, which knows otel-atm by three names only.

`context` says who pays, `TokenQuotaExceeded` is what a refused call raises, and both would stand in
any program just like here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import openai
from openai.types import CompletionUsage

from otel_atm import TokenQuotaExceeded, context
from otel_atm.demo.cast import APP, Person, Task

_INSTRUCTIONS: Final = (
    "You are the agent of a colleague. Look things up before you answer, quote what you found, and "
    "say so where nothing was found. Be brief: two paragraphs, plain words, no lists. "
) * 3
_FOUND: Final = (
    "The shared folder has three documents about it. The newest one is from last week and agrees "
    "with the two before it, but for the dates, which were moved by a month. "
) * 2
_TOOL: Final[Any] = {
    "type": "function",
    "function": {
        "name": "search_documents",
        "description": "Search the shared folder.",
        "parameters": {
            "type": "object",
            "properties": {"query": {"type": "string"}},
            "required": ["query"],
        },
    },
}


class Step(NamedTuple):
    """One call that an agent wanted to make.

    Attributes:
        did: what it was for; empty for a refused call.
        tokens: input and output, as the provider's answer says; 0 for a refused call.
        refusal: why it was not sent; None if it was.
    """

    person: Person
    task: Task
    did: str = ""
    tokens: tuple[int, int] = (0, 0)
    refusal: TokenQuotaExceeded | None = None


def work(client: openai.OpenAI, person: Person) -> Iterator[Step]:
    """Do all tasks of a person, one call to a model a step. A refusal ends its task."""
    for task in person.tasks:
        calls = _look_up(client, person, task) if task.lookups else _stream(client, person, task)
        with context(user=person.name, team=person.team, app=APP, session=task.name):
            try:
                for did, usage in calls:
                    tokens = usage.prompt_tokens, usage.completion_tokens
                    yield Step(person, task, did, tokens)
            except TokenQuotaExceeded as refusal:
                yield Step(person, task, refusal=refusal)


def _look_up(
    client: openai.OpenAI, person: Person, task: Task
) -> Iterator[tuple[str, CompletionUsage]]:
    """Let the model call its tool until it has an answer."""
    messages = _question(task)
    while True:
        answer = client.chat.completions.create(
            model=person.model, messages=messages, tools=[_TOOL]
        )
        message = answer.choices[0].message
        assert answer.usage is not None
        yield "tool call" if message.tool_calls else "answer", answer.usage
        if not message.tool_calls:
            return
        messages.append(message)
        for call in message.tool_calls:
            messages.append({"role": "tool", "tool_call_id": call.id, "content": _FOUND})


def _stream(
    client: openai.OpenAI, person: Person, task: Task
) -> Iterator[tuple[str, CompletionUsage]]:
    """Have the answer streamed; its last chunk says what it used."""
    stream = client.chat.completions.create(
        model=person.model,
        messages=_question(task),
        stream=True,
        stream_options={"include_usage": True},
    )
    with stream:
        usages = [chunk.usage for chunk in stream if chunk.usage is not None]
    yield from (("streamed", usage) for usage in usages)


def _question(task: Task) -> list[Any]:
    return [
        {"role": "system", "content": _INSTRUCTIONS},
        {"role": "user", "content": f"Please {task.name}."},
    ]
