"""Diagnosis: what was found, each with its state, why, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

State = Literal["enforced", "fine", "metered", "unseen", "broken"]
Part = Literal["client", "instrumentation", "beside", "setting", "process", "file"]

#: From good to bad.
STATES: Final[tuple[State, ...]] = ("enforced", "fine", "metered", "unseen", "broken")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        part: "client", "instrumentation", "beside" (another way to send requests), "setting",
            "process" or "file".
        name: of the package, variable, part or file.
        state: "enforced": a refusal is certain to stop the request before it is sent; "metered":
            calls are counted, and not stopped for certain; "unseen": calls are not even counted;
            "fine" and "broken": of what is no way to send requests.
        why: one line.
        do: what would make it better; "" for nothing.
        version: of what is installed; None for what has none, "?" where it is not known.
        loaded: whether this process uses it; None: another process was not asked.
        counts: whether it decides the state of the whole.
    """

    part: Part
    name: str
    state: State
    why: str
    do: str = ""
    version: str | None = None
    loaded: bool | None = None
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What `otel_atm.doctor` and ``otel-atm doctor`` found.

    Attributes:
        guards: whether guards are on, or are taken to be.
        findings: in the order in which they are shown.
    """

    guards: bool
    findings: tuple[Finding, ...]

    @property
    def state(self) -> State:
        """The worst of all that count; "enforced" where there is nothing."""
        return worst(finding.state for finding in self.findings if finding.counts)

    def as_dict(self) -> dict[str, Any]:
        """For programs: `state`, `guards`, and `findings` with the attributes of each."""
        findings = [asdict(finding) for finding in self.findings]
        return {"state": self.state, "guards": self.guards, "findings": findings}


def worst(states: Iterable[State]) -> State:
    """The worst of some states; "fine" is as good as "enforced".

    >>> worst(["enforced", "metered", "fine"]), worst([])
    ('metered', 'enforced')
    """
    found = max(states, key=STATES.index, default=STATES[0])
    return "enforced" if found == "fine" else found
