"""Requests: whether an HTTP request asks a model, which one, and about what it will use."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import orjson

from otel_atm.guards.endpoints import Endpoint, find_endpoint, model_in
from otel_atm.guards.fields import FIELDS, MOST_TOKENS, NAMES, at, first_count
from otel_atm.guards.hosts import EVERYBODYS, Hosts
from otel_atm.guards.shape import Shape
from otel_atm.guards.skim import Skimmer
from otel_atm.guards.text import media_in_unparsed, reading, written
from otel_atm.price import Tokens
from otel_atm.tokenizers.estimate import tokens_in

#: Bytes of the largest body that is parsed; of a larger one, the beginning and the end are read.
MOST_PARSED: Final = 1 << 20
#: Bytes of each of the two: the clients write ``model`` before the messages or after them.
WINDOW: Final = 1 << 16
_MOST_NAME: Final = 256  # characters of a model

#: Providers whose chat streams tell the usage though nobody asked for it.
_TELLERS: Final = frozenset(("mistral_ai", "groq", "x_ai", "perplexity", "openrouter", "deepseek"))
_ASKS_ON_REQUEST: Final = (Shape.CHAT, Shape.COMPLETIONS)
_NAMED_IN_PATH: Final = (Shape.GENERATE, Shape.GEMINI_EMBED)
_INCLUDE_USAGE: Final = ("stream_options", "include_usage")
_SKIMMER: Final = Skimmer(NAMES)


class Request(NamedTuple):
    """One request to a model; nothing of what it says.

    Attributes:
        provider: as ``gen_ai.provider.name`` has it, e.g. ``azure.ai.openai``; by the host, and
            ``openai`` for whoever speaks its language at a host that nobody knows.
        host: as it was given.
        model: as the request has it; of a deployment, its name. None: not known.
        operation: ``chat``, ``text_completion``, ``generate_content`` or ``embeddings``.
        shape: of the body, and of the answer.
        stream: whether the answer will come in pieces.
        most_output: output tokens that it allows at most, over all answers asked for; 0 for
            embeddings, which have none. None: no bound.
        estimate: input about what the messages, tools and schemas of the request are, see `text`,
            0 if it could not be read; output `most_output`, or 0 where that is None. What a
            provider adds by reference (files, earlier responses, hosted tools) is not in it.
        tells_usage: False if it asks for a stream that will not tell its usage.
    """

    provider: str
    host: str
    model: str | None
    operation: str
    shape: Shape
    stream: bool
    most_output: int | None
    estimate: Tokens
    tells_usage: bool


def recognise(
    method: str, host: str, path: str, body: bytes | None, hosts: Hosts = EVERYBODYS
) -> Request | None:
    """What an HTTP request asks of a model; None if it asks none.

    At a host of `hosts` the path tells; of a body that cannot be read, only what path and host
    say is known. At any other the body must look like it too: a model, and something to read.
    Never raises, whatever it is given.

    Args:
        method: as on the wire, in capitals.
        host: with its port, if there is one in the URL.
        path: of the URL, with its query or without.
        body: as it is sent, not compressed. None: not known, e.g. a stream.
        hosts: whom one knows.
    """
    if method != "POST":
        return None
    endpoint = find_endpoint(path)
    if endpoint is None:
        return None
    provider = hosts.provider(host)
    if provider is None and not endpoint.anywhere:
        return None
    fields, read = _read(endpoint.shape, body or b"")
    model = _model(endpoint.shape, path, fields)
    if provider is None:
        if not model or not any(name in fields for name in FIELDS[endpoint.shape].texts):
            return None
        provider = endpoint.provider
    stream = _streams(endpoint, fields)
    most = _most_output(endpoint.shape, fields)
    return Request(
        provider,
        host,
        model,
        endpoint.operation,
        endpoint.shape,
        stream,
        most,
        (read, most or 0, 0, 0, 0),
        not stream
        or endpoint.shape not in _ASKS_ON_REQUEST
        or provider in _TELLERS
        or at(fields, _INCLUDE_USAGE) is True,
    )


def _model(shape: Shape, path: str, fields: dict[str, Any]) -> str | None:
    """Gemini's path counts: its bodies need no model, and have a resource name if they do."""
    named = fields.get("model")
    if isinstance(named, str) and 0 < len(named) <= _MOST_NAME and shape not in _NAMED_IN_PATH:
        return named
    return model_in(path)


def read_body(body: bytes | None) -> dict[str, Any]:
    """The fields of a JSON object, empty if it is none; of a large one, those of `NAMES`."""
    if not body:
        return {}
    if len(body) > MOST_PARSED:
        return _SKIMMER.both(body, WINDOW)
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _read(shape: Shape, body: bytes) -> tuple[dict[str, Any], int]:
    """Fields of a body, and about how many tokens it gives the model to read."""
    length = len(body)
    fields = read_body(body)
    if length > MOST_PARSED:
        size, media = media_in_unparsed(body)
        return fields, tokens_in(length - size, media)
    where = FIELDS[shape]
    total = media = 0
    for name in where.texts:
        if name in fields:
            size, more = reading(fields[name])
            total += size
            media += more
    for path in where.schemas:
        if path[0] in fields:
            total += written(at(fields, path))
    return fields, tokens_in(total, media)


def _streams(endpoint: Endpoint, fields: dict[str, Any]) -> bool:
    if endpoint.streams is not None:
        return endpoint.streams
    asked = fields.get("stream")
    return FIELDS[endpoint.shape].streams if asked is None else asked is True


def _most_output(shape: Shape, fields: dict[str, Any]) -> int | None:
    where = FIELDS[shape]
    if not where.speaks:
        return 0
    most = first_count(fields, where.most)
    if most is None:
        return None
    times = first_count(fields, where.times) or 1
    if shape is Shape.COMPLETIONS:
        prompts = fields.get("prompt")
        if isinstance(prompts, list) and prompts and not isinstance(prompts[0], int):
            times *= len(prompts)  # each is completed by itself
    return min(most * times, MOST_TOKENS)
