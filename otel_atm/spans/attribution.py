"""Attribution: who causes a span's call.

In rising priority: resource attributes, baggage (only the keys that the application lists: an
inbound header must not bill somebody else), attributes of the span, `otel_atm.context`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry import baggage
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource

from otel_atm.cache import Cache
from otel_atm.scope import NOBODY, Scope, current_scope
from otel_atm.semconv import RESOURCE_SCOPE, SPAN_SCOPE

_SPAN_KEYS = frozenset(SPAN_SCOPE)
_UNKNOWN_SERVICE = "unknown_service"  # what the SDK says when nobody said anything


class Attribution:
    """Works out scopes, and remembers them.

    Args:
        baggage_keys: scope keys to take from baggage entries of the same name.
    """

    def __init__(self, baggage_keys: Iterable[str] = ()) -> None:
        self._baggage_keys = tuple(baggage_keys)
        self._resource: Resource | None = None
        self._resource_scope = NOBODY
        self._merged: Cache[tuple[Scope, Scope], Scope] = Cache(4_096)

    def scope(
        self, resource: Resource, attributes: Mapping[str, Any], context: Context | None
    ) -> Scope:
        """Who pays for a span that starts with these attributes in this context."""
        if resource is not self._resource:
            self._resource_scope, self._resource = _of_resource(resource), resource
        base = self._resource_scope
        if self._baggage_keys:
            base = base | self._of_baggage(context)
        if not _SPAN_KEYS.isdisjoint(attributes):
            base = base | _of_attributes(attributes, SPAN_SCOPE)
        pair = base, current_scope()
        merged = self._merged.get(pair)
        if merged is None:
            merged = base | pair[1]
            self._merged.put(pair, merged)
        return merged

    def _of_baggage(self, context: Context | None) -> Scope:
        entries = baggage.get_all(context)
        return _scope({key: entries.get(key) for key in self._baggage_keys})


def _of_resource(resource: Resource) -> Scope:
    scope = _of_attributes(resource.attributes, RESOURCE_SCOPE)
    service = scope.get("service")
    if service is None or service.startswith(_UNKNOWN_SERVICE):
        return _scope({key: value for key, value in scope.items() if key != "service"})
    return Scope(app=service) | scope


def _of_attributes(attributes: Mapping[str, Any], keys: Mapping[str, str]) -> Scope:
    return _scope({key: attributes[name] for name, key in keys.items() if name in attributes})


def _scope(found: Mapping[str, object]) -> Scope:
    """A scope of what was found; an emitter's odd value is no reason to lose the call."""
    return Scope(**{key: str(value) for key, value in found.items() if value is not None})
