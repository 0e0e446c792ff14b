"""Process: what this process has really set up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, DEFAULT_ON, Sampler

from otel_atm.coverage.diagnosis import Finding, State
from otel_atm.coverage.loaded import environment, is_active, is_loaded, packages
from otel_atm.coverage.scene import Scene, has_native_spans, installed
from otel_atm.guards.install import guarded, seams

_EXPORTING: Final = (BatchSpanProcessor, SimpleSpanProcessor)
#: Where a sampler is from that has calls seen though they are sampled out.
_WRAPPING: Final = "otel_atm.spans.sampler"


def this_process(*, guards: bool, provider: TracerProvider | None) -> Scene:
    """What this process has loaded and turned on."""
    environ = environment()
    standing, known = packages(guarded()), packages(seams())
    loaded = {name for name in known if guards and any(is_loaded(one) for one in _of(name))}
    failed = frozenset(loaded - standing)
    return Scene(
        versions=installed(),
        guardable=known - failed,
        environ=environ,
        guards=guards,
        sampler_wrapped=provider is not None and is_wrapped(provider),
        native_spans=is_loaded("anthropic") and has_native_spans(environ),
        loaded=is_loaded,
        active=is_active,
        unguardable=failed,
    )


def set_up(
    processor: SpanProcessor, provider: TracerProvider | None, *, guards: bool
) -> Iterator[Finding]:
    """The provider, its processors and its sampler, and the guards that stand."""
    if guards:
        names = ", ".join(sorted(packages(guarded()))) or "nothing yet"
        yield Finding("process", "guards", "fine", f"they stand on {names}")
    if provider is None:
        state: State = "fine" if guards else "unseen"
        do = "" if guards else "add the processor to a TracerProvider"
        yield Finding("process", "provider", state, "the spans of no provider are seen", do)
        return
    yield _provider(provider)
    yield _order(processor, provider)
    yield _sampler(provider, guards=guards)


def is_wrapped(provider: TracerProvider) -> bool:
    """Whether calls that its sampler drops are seen all the same."""
    sampler = provider.sampler
    return type(sampler).__module__ == _WRAPPING and not getattr(sampler, "idle", False)


def _of(package: str) -> list[str]:
    """The modules of a package that can be guarded."""
    return [module for module in seams() if packages([module]) == {package}]


def _provider(provider: TracerProvider) -> Finding:
    if trace.get_tracer_provider() is provider:
        return Finding("process", "provider", "fine", "the global one")
    why = "not the global one: what makes its spans elsewhere is not seen"
    return Finding("process", "provider", "fine", why)


def _order(processor: SpanProcessor, provider: TracerProvider) -> Finding:
    everyone: tuple[Any, ...] = provider._active_span_processor._span_processors
    if processor not in everyone:
        return Finding("process", "processor", "unseen", "it is not on the provider")
    at = everyone.index(processor)
    before = sum(isinstance(one, _EXPORTING) for one in everyone[:at])
    after = sum(isinstance(one, _EXPORTING) for one in everyone[at:])
    why = f"on the provider; exporters before it: {before}, after it: {after}"
    return Finding("process", "processor", "fine", why)


def _sampler(provider: TracerProvider, *, guards: bool) -> Finding:
    said = _description(provider.sampler)
    if said == _description(ALWAYS_ON):
        return Finding("process", "sampler", "fine", "every call is sampled")
    if is_wrapped(provider):
        return Finding("process", "sampler", "fine", "calls that it drops are seen all the same")
    if guards:
        why = "calls that it drops are refused and counted by guards"
        return Finding("process", "sampler", "fine", why)
    if said == _description(DEFAULT_ON):
        why = "calls are sampled, but in traces that whoever calls this process has dropped"
        return Finding("process", "sampler", "fine", why)
    do = "turn guards on: init(guards=True)"
    return Finding("process", "sampler", "unseen", f"calls that {said} drops are not seen", do)


def _description(sampler: Sampler) -> str:
    return sampler.get_description()
