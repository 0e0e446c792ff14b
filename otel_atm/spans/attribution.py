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
from opentelemetry.sdk.trace import ReadableSpan

from otel_atm.errors import ConfigurationError
from otel_atm.gate import Gate, Kind, Plan
from otel_atm.scope import CALL_KEYS, NOBODY, Scope, current_scope
from otel_atm.semconv import ATM_CALL_ID, RESOURCE_SCOPE, SPAN_SCOPE
from otel_atm.spans.emitters import EMITTERS, GEN_AI, Emitter, Recognised, recognise
from otel_atm.spans.reading import read_provider, read_text

#: The words in which most spans say what they are.
KIND, PROVIDER, MODEL = GEN_AI.kind, GEN_AI.provider[0], GEN_AI.model[0]
#: What a span that starts may tell besides: who pays; of a call that is over, its usage; and that
#: it was admitted already.
TELLING = frozenset(SPAN_SCOPE) | {emitter.input[0] for emitter in EMITTERS} | {ATM_CALL_ID}
#: What a span is: its plan, its convention, how many attributes are set on it, and the resource
#: that this holds for.
Known = tuple[Plan, Emitter, int, Resource]
_MEMO_SIZE = 256  # plans remembered on one scope
_UNKNOWN_SERVICE = "unknown_service"  # what the SDK says when nobody said anything


class Attribution:
    """Recognises calls, and finds the plan of who pays for them; remembers both.

    Args:
        gate: makes the plans.
        baggage_keys: scope keys to take from baggage entries of the same name.
        own: what the process says of itself; goes before what its resource says.

    Raises:
        ConfigurationError: a key that no scope can have.
    """

    def __init__(self, gate: Gate, baggage_keys: Iterable[str] = (), own: Scope = NOBODY) -> None:
        self._gate, self._own = gate, own
        self._baggage_keys = check_baggage_keys(baggage_keys)
        # The last resource seen, with its scope: one field, so that no thread sees half of it.
        self._resource: tuple[Resource | None, Scope] = (None, own)

    def take_from_baggage(self, keys: Iterable[str]) -> None:
        """Take other scope keys from baggage, from now on."""
        self._baggage_keys = check_baggage_keys(keys)
        self._gate.renew_generation()

    def attribute(
        self,
        span: ReadableSpan,
        attributes: Mapping[str, Any],
        scope_name: str,
        resource: Resource,
        context: Context | None,
    ) -> Known | None:
        """What a span is that starts like this; None if it is no call.

        Mostly a span says what it is in the first words of its convention, and nothing but
        `otel_atm.context` tells who pays: then the answer is remembered on that scope, under the
        generation of plans and those words.
        """
        known = recognise(attributes, scope_name, span.name)
        if known is None:
            return None
        plan = self.plan_of(known, attributes, resource, context)
        answer = plan, known.emitter, len(plan.span_attributes) + 1, resource
        if TELLING.isdisjoint(attributes) and not self._baggage_keys:
            self._remember(attributes, answer)
        return answer

    def _remember(self, attributes: Mapping[str, Any], answer: Known) -> None:
        words, memo = (
            [attributes.get(word) for word in (KIND, PROVIDER, MODEL)],
            current_scope().memo,
        )
        if all(isinstance(word, str) for word in words):
            if len(memo) >= _MEMO_SIZE:
                memo.clear()
            memo[self._gate.planner.generation, *words] = answer

    def plan_of(
        self,
        known: Recognised,
        attributes: Mapping[str, Any],
        resource: Resource,
        context: Context | None = None,
    ) -> Plan:
        """The plan for a span that is known to be this."""
        emitter = known.emitter
        kind = Kind(
            self._scope(resource, attributes, context) | current_scope(),
            read_provider(emitter, attributes),
            read_text(attributes, emitter.model),
            known.operation,
        )
        return self._gate.plan(kind)

    def plan(self, provider: str | None, model: str | None, operation: str) -> Plan:
        """The plan of a call without a span: of the context, and of the resource last seen.

        Raises:
            ConfigurationError: one of these is no text.
        """
        scope = current_scope()
        key = self._gate.planner.generation, provider, model, operation, "admit"
        try:
            plan: Plan | None = scope.memo.get(key)
        except TypeError:
            plan = None  # not even something that could be a key
        if plan is None:
            _check_texts(provider=provider, model=model, operation=operation or None)
            payer = self._resource[1] | scope
            plan = self._gate.plan(Kind(payer, provider, model, operation))
            if len(scope.memo) >= _MEMO_SIZE:
                scope.memo.clear()
            scope.memo[key] = plan
        return plan

    def know(self, resource: Resource) -> None:
        """Calls come from this resource, as long as no span says otherwise."""
        self._resource = resource, _of_resource(resource) | self._own
        self._gate.renew_generation()

    def own(self, own: Scope) -> None:
        """Say something else of the process from now on."""
        resource, self._own = self._resource[0], own
        self._resource = resource, _of_resource(resource) | own if resource else own
        self._gate.renew_generation()

    def kind(self, provider: str | None, model: str | None, operation: str) -> Kind:
        """The kind of a call without a span: of the context, and of the resource last seen."""
        return Kind(self._resource[1] | current_scope(), provider, model, operation)

    def _scope(
        self, resource: Resource, attributes: Mapping[str, Any], context: Context | None
    ) -> Scope:
        latest, base = self._resource
        if resource is not latest:
            base = _of_resource(resource) | self._own
            self._resource = resource, base
            self._gate.renew_generation()  # what is remembered is of another resource
        if self._baggage_keys:
            base = base | self._of_baggage(context)
        return base | _of_attributes(attributes, SPAN_SCOPE)

    def _of_baggage(self, context: Context | None) -> Scope:
        entries = baggage.get_all(context)
        return _scope({key: entries.get(key) for key in self._baggage_keys})


def _check_texts(**given: object) -> None:
    for name, value in given.items():
        absent = value is None and name != "operation"
        if not absent and not (isinstance(value, str) and value):
            raise ConfigurationError(f"{name}={value!r}: expected a text")


def check_baggage_keys(keys: Iterable[str]) -> tuple[str, ...]:
    """The keys, if each can say who pays.

    Raises:
        ConfigurationError: one cannot.
    """
    given: object = keys
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigurationError(f"baggage_keys={keys!r}: expected a list of keys, e.g. ['user']")
    keys = tuple(keys)
    for key in keys:
        if not key.isidentifier():
            raise ConfigurationError(f"baggage_keys: {key!r} is no scope key")
        if key in (*CALL_KEYS, "tags"):
            raise ConfigurationError(f"baggage_keys: {key!r} does not say who pays")
    return keys


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
