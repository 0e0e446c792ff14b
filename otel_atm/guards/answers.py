"""Answers: what a whole answer says was used."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import orjson

from otel_atm.guards.counts import COUNTS, WHOLE, Json, together
from otel_atm.guards.fields import MOST_TOKENS
from otel_atm.guards.shape import Shape
from otel_atm.guards.skim import Skimmer
from otel_atm.price import Tokens

#: Bytes of the largest answer that is parsed; of a larger one, the end and the beginning are read.
MOST_PARSED: Final = 1 << 16
WINDOW: Final = 1 << 14
_MOST_NAME: Final = 256  # characters of an id

#: Where ids are: everybody's, Gemini's, Cohere's first API.
_ID: Final = ("id", "responseId", "generation_id")
#: Where usage is.
USAGE: Final = (
    "usage",
    "x_groq",
    "usageMetadata",
    "meta",
    "prompt_eval_count",
    "eval_count",
    "amazon-bedrock-invocationMetrics",
    "prompt_token_count",
    "generation_token_count",
    "inputTextTokenCount",
    "totalOutputTextTokenCount",
)
SKIMMER: Final = Skimmer((*_ID, *USAGE))
_PREDICTED: Final = re.compile(rb'"token_count"\s*:\s*(\d{1,12})')


class Answer(NamedTuple):
    """What an answer says of itself; nothing of what it says.

    Attributes:
        tokens: what the provider says was used. None: nothing was said.
        response_id: the provider's, None if it does not say.
        exact: whether `tokens` are the provider's last word. If not, they are the least that was
            used: a stream that ended early has told its input and part of its output, or less.
        output_seen: about how many output tokens passed by in a stream, 4 bytes of text each;
            0 for answers that came whole. It is what there is where usage never came.
    """

    tokens: Tokens | None = None
    response_id: str | None = None
    exact: bool = False
    output_seen: int = 0


NOTHING: Final = Answer()
#: A named tuple's own constructor is a function in Python.
_new: Final = tuple.__new__


def read_answer(shape: Shape, body: bytes) -> Answer:
    """What a whole answer says was used. Never raises, whatever it is given.

    Args:
        shape: of the request.
        body: JSON, not compressed.
    """
    if len(body) <= MOST_PARSED:
        answer = parsed(body)
    elif shape is Shape.PREDICT:
        answer = _predicted(body)
    else:
        answer = SKIMMER.both(body, WINDOW)
    if not answer:
        return NOTHING
    told = COUNTS[shape](answer)
    if told is not None and shape not in WHOLE:
        told = together(shape, told)
    return _new(Answer, (told, id_of(answer), told is not None, 0))


def parsed(body: bytes) -> Json:
    """A JSON object; empty if it is none."""
    try:
        value: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if type(value) is dict else {}


def id_of(answer: Json) -> str | None:
    """The id that an answer names: a text that is neither empty nor long."""
    for name in _ID:
        value = answer.get(name)
        if type(value) is str and 0 < len(value) <= _MOST_NAME:
            return value
    return None


def _predicted(body: bytes) -> Json:
    """Statistics stand behind each of the vectors, and no text is near them: add all up."""
    total = sum(int(each) for each in _PREDICTED.findall(body))
    statistics = {"token_count": min(total, MOST_TOKENS - 1)}
    return {"predictions": [{"embeddings": {"statistics": statistics}}]}
