"""Install: guards on the libraries that there are, and on those that are imported later."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType
from typing import Any, Final

import wrapt

from otel_atm.guards import (
    aiohttp_net,
    botocore_net,
    clients,
    dspy_unwrap,
    httpx_net,
    litellm_unwrap,
    lm15_net,
    mistral_copies,
)
from otel_atm.guards.door import Door
from otel_atm.trouble import logger

_Seam = tuple[type, str, Callable[..., Any]] | tuple[ModuleType, str, Callable[..., Any]]

_door: Door | None = None


def current() -> Door | None:
    """The door that guarded requests pass; None when guards are off."""
    return _door


#: Module → what to wrap in it.
_SEAMS: Final[dict[str, Callable[[ModuleType], Sequence[_Seam]]]] = {
    "httpx": lambda module: httpx_net.guard(module, current),
    "httpx2": lambda module: httpx_net.guard(module, current),
    "aiohttp": lambda module: aiohttp_net.guard(module, current),
    "botocore.client": lambda module: botocore_net.guard(module, current),
    "litellm": lambda module: litellm_unwrap.guard(module, current),
    dspy_unwrap.MODULE: lambda module: dspy_unwrap.guard(module, current),
    mistral_copies.MODULE: lambda module: mistral_copies.guard(module, current),
    **{name: partial(lm15_net.guard, door=current) for name in lm15_net.MODULES},
    **{name: partial(clients.guard, door=current) for name in clients.MODULES},
}

_lock = threading.RLock()
_wrapped: list[tuple[type | ModuleType, str, wrapt.FunctionWrapper[Any, Any]]] = []
_hooked: set[str] = set()


def install(door: Door) -> None:
    """Guard the known libraries, also those that are imported later; again: through this door."""
    global _door
    with _lock:
        _door = door
        for name in _SEAMS:
            if name in sys.modules:
                _guard(_whole(sys.modules[name]))
            elif name not in _hooked:
                _hooked.add(name)
                wrapt.register_post_import_hook(_guard, name)


def uninstall(door: Door) -> None:
    """Leave the libraries as they were, if it is through this door that they go."""
    global _door
    with _lock:
        if _door is not door:
            return
        _door = None
        for owner, name, wrapper in _wrapped:
            if owner.__dict__.get(name) is wrapper:  # else somebody has wrapped it since
                setattr(owner, name, wrapper.__wrapped__)
        _wrapped.clear()


def _whole(module: ModuleType) -> ModuleType:
    """A module that another thread may be in the middle of importing, once it is imported."""
    if getattr(module.__spec__, "_initializing", False):
        return importlib.import_module(module.__name__)  # waits
    return module


def guarded() -> frozenset[str]:
    """What guards stand on now: ``module.Class.method`` of each."""
    with _lock:
        return frozenset(f"{_path(owner)}.{name}" for owner, name, _ in _wrapped)


def _path(owner: Any) -> str:
    """Of a class, or of a module that is wrapped in itself."""
    module = getattr(owner, "__module__", None)
    return f"{module}.{owner.__qualname__}" if module else str(owner.__name__)


def seams() -> frozenset[str]:
    """The modules that can be guarded, whether they are loaded or not."""
    return frozenset(_SEAMS)


def _guard(module: ModuleType) -> None:
    with _lock:
        if _door is None:
            return
        try:
            seams = [
                (owner, name, owner.__dict__[name], wrapper)
                for owner, name, wrapper in _SEAMS[module.__name__](module)
            ]
        except Exception as error:  # noqa: BLE001 - another version of the library
            _door.trouble.note("guard_install", error)
            logger.warning("otel-atm: %s cannot be guarded in this version", module.__name__)
            return
        for owner, name, original, wrapper in seams:
            if any(one[0] is owner and one[1] == name for one in _wrapped):
                continue
            guarded = wrapt.FunctionWrapper(original, wrapper)
            setattr(owner, name, guarded)
            _wrapped.append((owner, name, guarded))
