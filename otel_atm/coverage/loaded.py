"""Loaded: what of it this process uses. Cheap to import: the start-up check needs no more."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping

from otel_atm.coverage.instrumentations import Instrumentation


def is_loaded(module: str) -> bool:
    """Whether this process has imported a module."""
    return sys.modules.get(module) is not None


def is_active(instrumentation: Instrumentation) -> bool:
    """Whether an instrumentation is on in this process."""
    module, _, name = instrumentation.switch.partition(":")
    loaded = sys.modules.get(module)
    if loaded is None or not name:
        return loaded is not None
    instance = getattr(vars(loaded).get(name), "_instance", None)
    return bool(getattr(instance, "_is_instrumented_by_opentelemetry", False))


def packages(modules: Iterable[str]) -> frozenset[str]:
    """The packages that modules are of.

    >>> packages(["openai._base_client"])
    frozenset({'openai'})
    """
    return frozenset(module.partition(".")[0] for module in modules)


def environment() -> Mapping[str, str]:
    """Of the process."""
    return os.environ
