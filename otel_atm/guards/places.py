"""Places: what is known of a request by where it goes, before anybody looks at its body."""

from __future__ import annotations

from typing import Final, NamedTuple

from otel_atm.cache import Cache
from otel_atm.guards.endpoints import Endpoint, find_endpoint, model_in
from otel_atm.guards.fields import FIELDS, Fields
from otel_atm.guards.forms import Forms
from otel_atm.guards.hosts import Hosts
from otel_atm.guards.shape import Shape

_MOST_REMEMBERED: Final = 1_024
_MOST_TEXT: Final = 4_096  # characters of host and path, if they are remembered


class Place(NamedTuple):
    """A host and a path at which models are asked.

    Attributes:
        endpoint: of the path.
        provider: who answers there. None: nobody knows; a body must look like a call to be one.
        model: that the path names; None if it names none.
        fields: where a body has what.
        besides: fields without which a request is but something to read, and a bound.
        streams: whether answers are streams, where the body does not say.
        forms: of the bodies that came there.
    """

    endpoint: Endpoint
    provider: str | None
    model: str | None
    fields: Fields
    besides: frozenset[str]
    streams: bool
    forms: Forms


class Places:
    """Finds places, and remembers them.

    Args:
        hosts: whom one knows.
    """

    __slots__ = ("_hosts", "_known")

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._known: Cache[tuple[str, str], Place] = Cache(_MOST_REMEMBERED)

    def find(self, host: str, path: str) -> Place | None:
        """The place, or None: no model is asked there.

        Args:
            host: with its port, if there is one in the URL.
            path: of the URL, with its query or without.
        """
        key = host, path
        place = self._known.get(key)
        if place is None:
            place = self._look(host, path)
            if place is not None and len(host) + len(path) <= _MOST_TEXT:
                self._known.put(key, place)
        return place

    def _look(self, host: str, path: str) -> Place | None:
        endpoint = find_endpoint(path)
        if endpoint is None:
            return None
        provider = self._hosts.provider(host)
        if provider is None and not endpoint.anywhere:
            return None
        where = FIELDS[endpoint.shape]
        streams = where.streams if endpoint.streams is None else endpoint.streams
        besides = _BESIDES[endpoint.shape]
        return Place(endpoint, provider, model_in(path), where, besides, streams, Forms())


def _besides(shape: Shape, where: Fields) -> frozenset[str]:
    """Outermost names of fields that say more than what there is to read, and a bound."""
    paths = (*where.schemas, *where.times)
    many = ("prompt",) if shape is Shape.COMPLETIONS else ()  # may be several
    return frozenset(("stream", "stream_options", *many, *(path[0] for path in paths)))


_BESIDES: Final = {shape: _besides(shape, where) for shape, where in FIELDS.items()}
