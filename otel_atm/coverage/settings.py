"""Settings: variables of OpenTelemetry that take spans, or what they say, from us."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from otel_atm.coverage.diagnosis import Finding
from otel_atm.coverage.instrumentations import NATIVE_ANTHROPIC
from otel_atm.coverage.scene import Scene

#: Attributes that a span of a call has had so far: below, the oldest give way while it is open.
_FEW_ATTRIBUTES: Final = 32
_ALL_SAMPLED: Final = ("always_on", "parentbased_always_on")
_BY_RATIO: Final = ("traceidratio", "parentbased_traceidratio")
_LIMITS: Final = ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT")
_GUARDS: Final = "turn guards on: init(guards=True)"


def settings(scene: Scene) -> Iterator[Finding]:
    """What is set so that it matters."""
    yield from _disabled(scene)
    if scene.loaded is None:  # a process has a sampler that can be asked
        yield from _sampler(scene)
    yield from _limit(scene)
    yield from _twice(scene)


def _disabled(scene: Scene) -> Iterator[Finding]:
    name = "OTEL_SDK_DISABLED"
    if scene.environ.get(name, "").strip().lower() != "true":
        return
    if scene.guards:
        yield Finding("setting", name, "fine", "there are no spans; guards refuse and count")
    else:
        yield Finding("setting", name, "unseen", "there are no spans, so budgets are idle", _GUARDS)


def _sampler(scene: Scene) -> Iterator[Finding]:
    variable = "OTEL_TRACES_SAMPLER"
    sampler = scene.environ.get(variable, "").strip().lower()
    if not sampler or sampler in _ALL_SAMPLED or (sampler in _BY_RATIO and _all(scene)):
        return
    name = f"{variable}={sampler}"
    if scene.guards:
        why = "calls that are sampled out are refused and counted by guards"
        yield Finding("setting", name, "fine", why)
    elif scene.sampler_wrapped:
        why = "calls that are sampled out are seen all the same; only what is exported is sampled"
        yield Finding("setting", name, "fine", why)
    else:
        yield Finding("setting", name, "unseen", "calls that are sampled out are not seen", _GUARDS)


def _all(scene: Scene) -> bool:
    try:
        return float(scene.environ.get("OTEL_TRACES_SAMPLER_ARG", "1")) >= 1
    except ValueError:
        return True  # as the SDK takes it


def _limit(scene: Scene) -> Iterator[Finding]:
    for name in _LIMITS:
        limit = scene.environ.get(name, "").strip()
        if limit.isdecimal() and int(limit) < _FEW_ATTRIBUTES:
            why = f"spans keep {limit} attributes: what a call used may be lost, and is estimated"
            do = "" if scene.guards else f"allow {_FEW_ATTRIBUTES} or more"
            yield Finding("setting", name, "fine", why, do)
            return


def _twice(scene: Scene) -> Iterator[Finding]:
    """Clients of which several instrumentations make spans."""
    there = [each for each in scene.instrumentations() if each is not NATIVE_ANTHROPIC]
    many = Counter(client for each in there for client in each.clients if client in scene.versions)
    for client, number in many.items():
        if number > 1:
            names = ", ".join(each.name for each in there if client in each.clients)
            why = f"{names} all make spans of its calls; each call is counted once"
            yield Finding("setting", f"{client}, {number} times", "fine", why, "keep one of them")
