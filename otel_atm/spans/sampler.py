"""The sampler: spans of calls are seen by processors also where they are sampled out.

Source: OpenTelemetry specification, "Sampling": a span with the decision RECORD_ONLY is shown to
processors, and its sampled flag is not set, so that exporters leave it out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final
from weakref import WeakKeyDictionary

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Tracer, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from otel_atm.spans.emitters import EMITTERS, KINDS
from otel_atm.trouble import Trouble

#: How the spans are named that have no attributes when they start. A sampler does not see who
#: makes a span, so all that are named like this count as such; what that costs is a record.
_NAMES: Final = tuple(start for emitter in EMITTERS for start in emitter.names)


class CallSampler(Sampler):
    """What another sampler says; but a call that it drops is recorded, and not exported.

    Calls are spans that say what they are when they start (``gen_ai.operation.name``,
    ``openinference.span.kind``; agents and tools too, which lead to calls), and spans without any
    attribute whose names are those of an emitter that sets none.

    Args:
        inner: decides; what it raises comes through.
        trouble: counts what fails in here.

    Attributes:
        idle: whether it says what the other one says, and nothing else.
    """

    def __init__(self, inner: Sampler, trouble: Trouble) -> None:
        self.inner, self._trouble = inner, trouble
        self.idle = False

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """See `opentelemetry.sdk.trace.sampling.Sampler`."""
        if trace_state is None:  # as the SDK calls it; there are samplers that know no more
            result = self.inner.should_sample(
                parent_context, trace_id, name, kind, attributes, links
            )
        else:
            result = self.inner.should_sample(
                parent_context, trace_id, name, kind, attributes, links, trace_state
            )
        if result.decision is not Decision.DROP or self.idle:
            return result
        try:
            return _recorded(result, attributes) if _is_call(name, attributes) else result
        except Exception as error:  # noqa: BLE001 - telemetry never breaks the application
            self._trouble.note("sampler", error)
            return result

    def get_description(self) -> str:
        """The other's, in brackets."""
        return f"OtelAtmCallSampler{{{self.inner.get_description()}}}"


def _is_call(name: str, attributes: Attributes) -> bool:
    if attributes:
        return not KINDS.isdisjoint(attributes)
    return name.startswith(_NAMES)


def _recorded(result: SamplingResult, attributes: Attributes) -> SamplingResult:
    """The same, recorded. Samplers that drop a span give its attributes away: here they are."""
    kept = {**(attributes or {}), **(result.attributes or {})}
    return SamplingResult(Decision.RECORD_ONLY, kept, result.trace_state)


#: What was made for a provider, also where somebody has wrapped it since.
_made: Final[WeakKeyDictionary[TracerProvider, list[CallSampler]]] = WeakKeyDictionary()


def wrap_samplers(provider: TracerProvider, trouble: Trouble) -> None:
    """Let a provider and its tracers record calls that they drop; again: nothing more happens.

    Tracers copy their provider's sampler when they are made, so those that there are have it
    changed, too.
    """
    made: dict[int, CallSampler] = {}
    for holder in _holders(provider):
        inner = holder.sampler
        if not isinstance(inner, CallSampler):
            holder.sampler = made.setdefault(id(inner), CallSampler(inner, trouble))
    _made.setdefault(provider, []).extend(made.values())


def unwrap_samplers(provider: TracerProvider) -> None:
    """Undo `wrap_samplers`; where somebody has wrapped ours since, it only passes on."""
    for sampler in _made.pop(provider, []):
        sampler.idle = True
    for holder in _holders(provider):
        if isinstance(holder.sampler, CallSampler):
            holder.sampler = holder.sampler.inner


def _holders(provider: TracerProvider) -> Iterator[TracerProvider | Tracer]:
    yield provider  # first: tracers that are made meanwhile have it from there
    yield from list(getattr(provider, "_tracers", {}).values())
