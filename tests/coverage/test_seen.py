"""What doctor says of clients and instrumentations is what the conformance suite has seen."""

from __future__ import annotations

from typing import Any

import pytest

from otel_atm.coverage.clients import BY_NAME
from otel_atm.coverage.diagnosis import State
from otel_atm.coverage.instrumentations import INSTRUMENTATIONS
from tests.conformance.catalog import UNENFORCED, Probe, locks, probes
from tests.conformance.page import kept

NAMES = {each.name: each for each in INSTRUMENTATIONS}
PROBES = probes()


def instrumentations(probe: Probe) -> list[str]:
    """Those that it turns on."""
    return [name for name in probe.packages if name in NAMES]


#: Instrumentation → what was seen of it alone, without guards.
SEEN: dict[str, Any] = {
    instrumentations(PROBES[name])[0]: found["modes"][UNENFORCED]
    for name, found in kept().items()
    if name in PROBES and UNENFORCED in found["modes"] and len(instrumentations(PROBES[name])) == 1
}


def state_of(found: Any) -> State:
    """The worst of its ways: rows that are missing, else requests that were not stopped."""
    failed = found["failed"]
    if any(why.startswith("0 rows") for why in failed.get("counted", {}).values()):
        return "unseen"
    return "metered" if failed.get("blocked") else "enforced"


def test_some_were_seen() -> None:
    assert {"enforced", "metered", "unseen"} == {state_of(found) for found in SEEN.values()}


@pytest.mark.parametrize("name", sorted(SEEN))
def test_an_instrumentation_is_as_it_was_seen_without_guards(name: str) -> None:
    assert NAMES[name].state == state_of(SEEN[name])


@pytest.mark.parametrize(
    "client", sorted(set(BY_NAME) & {name for probe in PROBES.values() for name in probe.packages})
)
def test_a_client_is_tested_in_the_versions_that_were_run(client: str) -> None:
    versions = {locks(probe.env)[client] for probe in PROBES.values() if client in probe.packages}
    majors = {int(version.partition(".")[0]) for version in versions}
    assert BY_NAME[client].over or set(BY_NAME[client].tested) == majors
