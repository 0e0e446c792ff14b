"""Requests: whether an HTTP request asks a model, which one, and about what it will use."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import orjson

from otel_atm.guards.fields import MOST_TOKENS, NAMES, Fields, at, first_count
from otel_atm.guards.hosts import EVERYBODYS, Hosts
from otel_atm.guards.places import Place, Places
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
    place = Places(hosts).find(host, path) if method == "POST" else None
    return None if place is None else asked_at(place, host, body)


def asked_at(place: Place, host: str, body: bytes | None) -> Request | None:
    """What a body asks at a place; None: it does not look like a call, at a host nobody knows.

    Args:
        place: of its host and path.
        host: as of `Request`.
        body: as of `recognise`.
    """
    if not body:
        return _read_whole(place, host, b"")
    found = place.forms.find(body)
    if found is not None:
        alike, size = found
        read, made = tokens_in(size), alike.estimate[1]
        return _new(Request, (*alike[:7], (read, made, 0, 0, 0), alike[8]))
    request = _read_whole(place, host, body)
    if request is not None:
        place.forms.learn(body, request)
    return request


def _read_whole(place: Place, host: str, body: bytes) -> Request | None:
    """The same, from all of its fields."""
    endpoint, provider, model, where, besides, stream, _ = place
    fields, read = _read(where, besides, body)
    shape, named = endpoint.shape, fields.get("model")
    # Gemini's path counts: its bodies need no model, and have a resource name if they do.
    if type(named) is str and 0 < len(named) <= _MOST_NAME and shape not in _NAMED_IN_PATH:
        model = named
    if provider is None:
        if not model or fields.keys().isdisjoint(where.texts):
            return None
        provider = endpoint.provider
    most = first_count(fields, where.most) if where.speaks else 0
    tells = True
    if not besides.isdisjoint(fields):
        asked = fields.get("stream")
        if asked is not None and endpoint.streams is None:
            stream = asked is True
        most = most and _times(where, shape, fields, most)
    if stream:
        tells = _tells_usage(shape, provider, fields)
    return _new(
        Request,
        (
            provider,
            host,
            model,
            endpoint.operation,
            shape,
            stream,
            most,
            (read, most or 0, 0, 0, 0),
            tells,
        ),
    )


#: A named tuple's own constructor is a function in Python.
_new: Final = tuple.__new__


def _read(where: Fields, besides: frozenset[str], body: bytes) -> tuple[dict[str, Any], int]:
    """Fields of a body, and about how many tokens it gives the model to read."""
    length, fields = len(body), read_body(body)
    if length > MOST_PARSED:
        size, media = media_in_unparsed(body)
        return fields, tokens_in(length - size, media)
    total = media = 0
    for name in where.texts:
        if name in fields:
            size, more = reading(fields[name])
            total += size
            media += more
    if not besides.isdisjoint(fields):
        total += sum([written(at(fields, path)) for path in where.schemas if path[0] in fields])
    return fields, tokens_in(total, media)


def read_body(body: bytes) -> dict[str, Any]:
    """The fields of a JSON object, empty if it is none; of a large one, those of `NAMES`."""
    if len(body) > MOST_PARSED:
        return _SKIMMER.both(body, WINDOW)
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return parsed if type(parsed) is dict else {}


def _tells_usage(shape: Shape, provider: str, fields: dict[str, Any]) -> bool:
    """Whether a stream will tell its usage."""
    return (
        shape not in _ASKS_ON_REQUEST or provider in _TELLERS or at(fields, _INCLUDE_USAGE) is True
    )


def _times(where: Fields, shape: Shape, fields: dict[str, Any], most: int) -> int:
    """Output tokens that a request allows at most, over all answers that it asks for."""
    times = first_count(fields, where.times) or 1
    if shape is Shape.COMPLETIONS:
        prompts = fields.get("prompt")
        if isinstance(prompts, list) and prompts and not isinstance(prompts[0], int):
            times *= len(prompts)  # each is completed by itself
    return min(most * times, MOST_TOKENS)
