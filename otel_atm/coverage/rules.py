"""Rules: what becomes of the calls of each client and each instrumentation that is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from otel_atm.coverage.clients import BY_NAME, CLIENTS, LOCAL, TRANSPORTS, Client
from otel_atm.coverage.diagnosis import Finding, State, worst
from otel_atm.coverage.instrumentations import INSTRUMENTATIONS, NATIVE_ANTHROPIC, Instrumentation
from otel_atm.coverage.scene import Scene

_ADMIT: Final = "budget its calls with otel_atm.admit"
_GUARDS: Final = "turn guards on: init(guards=True)"


class Verdict(NamedTuple):
    """What becomes of calls, why, and what to do."""

    state: State
    why: str
    do: str = ""


def clients(scene: Scene) -> Iterator[Finding]:
    """One for each client that is there."""
    for client in CLIENTS:
        if client.name in scene.versions and (found := of_client(client, scene)) is not None:
            loaded = scene.loaded and scene.loaded(client.module)
            yield Finding(
                "client",
                client.name,
                found.state,
                found.why,
                found.do,
                scene.versions[client.name],
                loaded,
                loaded is not False,
            )
    for name in LOCAL:
        if name in scene.versions:
            why = "runs models on this machine: there is nothing to count"
            yield Finding("client", name, "fine", why, version=scene.versions[name])


def of_client(client: Client, scene: Scene) -> Verdict | None:
    """What becomes of the calls of a client; None for a framework without its client."""
    if client.over:
        return _over(client, scene)
    by_spans = _by_spans(client, scene)
    transports = _transports(client, scene)
    bare = [name for name in transports if name not in scene.guarded]
    if not bare:
        why = f"guards refuse what it sends with {_listed(transports)}{_untested(client, scene)}"
        return Verdict("enforced", why)
    if by_spans.state == "enforced" or not scene.guards:
        return by_spans
    seen = "counted by its spans, and not refused" if by_spans.state == "metered" else "not seen"
    only = ""
    if len(bare) < len(transports):
        only = f"; with {_listed([name for name in transports if name in scene.guarded])}: refused"
    reason = "cannot be guarded in this version" if set(bare) & scene.unguardable else "no guard"
    why = f"what it sends with {_listed(bare)} is {seen} ({reason}){only}"
    return Verdict(by_spans.state, why, _instead(client))


def instrumentations(scene: Scene) -> Iterator[Finding]:
    """One for each instrumentation that is there and has something to report."""
    there = scene.instrumentations() if scene.active is None else _installed(scene)
    for each in there:
        if each.clients and not any(name in scene.versions for name in each.clients):
            continue
        found = of_instrumentation(each, scene)
        active = scene.active and scene.active(each)
        yield Finding(
            "instrumentation",
            each.name,
            found.state,
            found.why,
            found.do,
            scene.versions.get(each.name),
            active,
            active is not False,
        )


def of_instrumentation(each: Instrumentation, scene: Scene) -> Verdict:
    """What becomes of the calls that an instrumentation reports."""
    reported = [BY_NAME[name] for name in each.clients if name in scene.versions]
    broken = _broken(each, scene)
    outer = each is NATIVE_ANTHROPIC and any(
        "anthropic" in other.clients and other.state == "enforced"
        for other in scene.instrumentations()
    )
    if outer:
        return Verdict("enforced", "the spans of another instrumentation come first")
    if scene.guards:
        states = [found.state for one in reported if (found := of_client(one, scene)) is not None]
        if worst(states) == "enforced":
            weak = broken or each.why
            why = f"{weak}; guards see to it" if weak else "lets refusals through"
            return Verdict("enforced", why)
    if broken:
        return Verdict("unseen", broken, _GUARDS)
    if each.state == "enforced":
        return Verdict("enforced", "lets refusals through")
    return Verdict(each.state, each.why, _ADMIT if scene.guards else _GUARDS)


def beside(scene: Scene) -> Iterator[Finding]:
    """Other ways to spend tokens with what is there; they do not decide anything."""
    for name, (module, what) in TRANSPORTS.items():
        if name in scene.versions and name not in scene.guarded:
            why = f"{what} that a program itself makes with it are not seen"
            loaded = scene.loaded and scene.loaded(module)
            version = scene.versions[name]
            yield Finding("beside", name, "unseen", why, _ADMIT, version, loaded, counts=False)
    for client in CLIENTS:
        if client.name in scene.versions and client.beside:
            name, why = f"{client.name}: {', '.join(client.beside)}", "no door sees these"
            yield Finding("beside", name, "unseen", why, _ADMIT, counts=False)


def _installed(scene: Scene) -> list[Instrumentation]:
    """On or off."""
    native = [NATIVE_ANTHROPIC] if scene.native_spans else []
    return [each for each in INSTRUMENTATIONS if each.name in scene.versions] + native


def _over(client: Client, scene: Scene) -> Verdict | None:
    beneath = {
        name: found
        for name in client.over
        if name in scene.versions and (found := of_client(BY_NAME[name], scene)) is not None
    }
    if not beneath:
        return None
    state = worst(found.state for found in beneath.values())
    return Verdict(state, f"its calls are those of {_listed(list(beneath))}")


def _by_spans(client: Client, scene: Scene) -> Verdict:
    """What becomes of its calls without guards."""
    can_be_guarded = scene.guardable.issuperset(_transports(client, scene))
    do = _GUARDS if can_be_guarded else _instead(client)
    who = [each for each in scene.instrumentations() if client.name in each.clients]
    seeing = [each for each in who if not _broken(each, scene)]
    if any(each.state == "enforced" for each in seeing):
        seeing = [each for each in seeing if each is not NATIVE_ANTHROPIC]
    if not seeing:
        blind = [_broken(each, scene) for each in who]
        why = blind[0] if blind else f"no instrumentation of it that we know is {_there(scene)}"
        return Verdict("unseen", why, do)
    state = worst(each.state for each in seeing)
    if state == "enforced":
        return Verdict("enforced", f"{seeing[0].name} lets refusals through")
    weakest = next(each for each in seeing if each.state == state)
    return Verdict(state, f"{weakest.name} {weakest.why}", do)


def _there(scene: Scene) -> str:
    return "installed" if scene.active is None else "on"


def _transports(client: Client, scene: Scene) -> list[str]:
    optional = [name for name in client.optional if name in scene.versions]
    return [*client.sends_with(scene.major(client.name)), *optional]


def _broken(each: Instrumentation, scene: Scene) -> str:
    """Of which client it makes no spans; "" if there is none."""
    for name, since in each.broken_from.items():
        if (scene.major(name) or 0) >= since:
            return f"{each.name} makes no spans of {name} {since}"
    return ""


def _instead(client: Client) -> str:
    return f"{_ADMIT}, or use {client.instead}" if client.instead else _ADMIT


def _untested(client: Client, scene: Scene) -> str:
    major = scene.major(client.name)
    if not client.tested:
        return "; not tested with this client"
    if major is None or major in client.tested:
        return ""
    return f"; tested with {_listed([str(one) for one in client.tested])}, not with {major}"


def _listed(names: list[str]) -> str:
    """As one says it.

    >>> _listed(["a"]), _listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
