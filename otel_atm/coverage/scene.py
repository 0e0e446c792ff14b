"""Scene: what there is to judge, of an environment or of this process; nothing is imported."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

from otel_atm.coverage.clients import BY_NAME, CLIENTS, LOCAL, TRANSPORTS
from otel_atm.coverage.instrumentations import (
    INSTRUMENTATIONS,
    NATIVE_ANTHROPIC,
    Instrumentation,
)

#: The version of what is there, but does not say which it is.
UNKNOWN: Final = "?"


@dataclass(frozen=True, slots=True)
class Scene:
    """What is there.

    Attributes:
        versions: distribution → version, of what the tables know.
        guardable: packages on which guards stand once they are on and these are loaded.
        environ: of the process.
        guards: whether guards are on.
        sampler_wrapped: whether calls that are sampled out are seen all the same.
        native_spans: whether the Anthropic client that is installed makes spans by itself.
        loaded: whether this process has loaded a module; None: an environment is looked at.
        active: whether an instrumentation is on in this process; None as for `loaded`.
        unguardable: packages that guards know, but could not be put on in this version.
    """

    versions: Mapping[str, str]
    guardable: frozenset[str]
    environ: Mapping[str, str]
    guards: bool = True
    sampler_wrapped: bool = False
    native_spans: bool = False
    loaded: Callable[[str], bool] | None = None
    active: Callable[[Instrumentation], bool] | None = None
    unguardable: frozenset[str] = frozenset()

    @property
    def guarded(self) -> frozenset[str]:
        """Packages whose requests are refused where they are sent."""
        return self.guardable if self.guards else frozenset()

    def major(self, name: str) -> int | None:
        """The major version of a distribution; None where it is not known."""
        head = self.versions.get(name, UNKNOWN).partition(".")[0]
        return int(head) if head.isdecimal() else None

    def instrumentations(self) -> list[Instrumentation]:
        """Those that are installed; of this process: those that are on."""
        there = [each for each in INSTRUMENTATIONS if each.name in self.versions]
        if self.active is not None:
            there = [each for each in there if self.active(each)]
        return there + ([NATIVE_ANTHROPIC] if self.native_spans else [])


def installed(path: Sequence[str] | None = None) -> dict[str, str]:
    """Distribution → version, of all that the tables name and that is there.

    Args:
        path: folders to look in; None: where Python looks.
    """
    where = list(sys.path if path is None else path)
    found: dict[str, str] = {}
    for name in _named():
        version = _version(name, where)
        if version is None and name in BY_NAME and _lies_there(BY_NAME[name].module, where):
            version = UNKNOWN
        if version is not None:
            found[name] = version
    return found


def has_native_spans(environ: Mapping[str, str], path: Sequence[str] | None = None) -> bool:
    """Whether the Anthropic client that is there makes spans, and may; `path` as of `installed`."""
    if environ.get("ANTHROPIC_OPEN_TELEMETRY", "").lower() == "false":
        return False
    spec = PathFinder.find_spec("anthropic", path)
    folders = spec.submodule_search_locations if spec is not None else None
    return any(Path(folder, "_tracing.py").is_file() for folder in folders or ())


def _named() -> list[str]:
    return [
        *(client.name for client in CLIENTS),
        *(each.name for each in INSTRUMENTATIONS),
        *LOCAL,
        *TRANSPORTS,
    ]


def _version(name: str, path: list[str]) -> str | None:
    """None: it is not installed. Metadata may lack what it must have."""
    for distribution in metadata.distributions(name=name, path=path):
        if "Version" in distribution.metadata:
            return distribution.version
        return UNKNOWN
    return None


def _lies_there(module: str, path: list[str]) -> bool:
    """Whether there is a package that nobody has installed: a copy, or one in an archive."""
    if "." in module:  # to find it would be to import what it is in
        return False
    spec = PathFinder.find_spec(module, path)
    return spec is not None and spec.origin is not None
