"""Variables: what the ``ATM_*`` of the environment say, as keywords of `otel_atm.init`.

Only `otel_atm.OtelAtmInstrumentor` reads them: there is no code that could say it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from otel_atm.errors import ConfigurationError
from otel_atm.store.age import read_age

_FILES: Final = (".yaml", ".yml", ".toml")
_SWITCHES: Final = {"true": True, "1": True, "false": False, "0": False}


def keywords(environ: Mapping[str, str]) -> dict[str, Any]:
    """The keywords of `init` that the environment sets; a variable that is empty sets none.

    Raises:
        ConfigurationError: quotes the variable that cannot be read.
    """
    found: dict[str, Any] = {
        "budgets": _budgets(environ.get("ATM_BUDGETS")),
        "store": environ.get("ATM_DB"),
        "ledger": environ.get("ATM_LEDGER"),
        "prices": environ.get("ATM_PRICES"),
        "default_hold": _number("ATM_DEFAULT_HOLD", environ.get("ATM_DEFAULT_HOLD")),
        "baggage_keys": _list(environ.get("ATM_BAGGAGE_KEYS")),
        "guards": _switch("ATM_GUARDS", environ.get("ATM_GUARDS")),
        "gateways": _gateways(environ.get("ATM_GATEWAYS")),
        "sampler": _switch("ATM_SAMPLER", environ.get("ATM_SAMPLER")),
        "include_usage": _switch("ATM_INCLUDE_USAGE", environ.get("ATM_INCLUDE_USAGE")),
        "carry_context": _switch("ATM_CARRY_CONTEXT", environ.get("ATM_CARRY_CONTEXT")),
    }
    given = {name: value for name, value in found.items() if value not in (None, "", [], {})}
    if given.get("store") == "none":
        given["store"] = None
        return given
    return given | _store(given.get("store"), environ)


def _store(path: str | None, environ: Mapping[str, str]) -> dict[str, Any]:
    """A store that deletes what is old, if that was asked for."""
    events = read_age("ATM_KEEP_EVENTS", environ.get("ATM_KEEP_EVENTS") or None)
    rollups = read_age("ATM_KEEP_ROLLUPS", environ.get("ATM_KEEP_ROLLUPS") or None)
    if events is None and rollups is None:
        return {}
    from otel_atm.store.store import Store  # the SDK, which who asks for nothing need not load

    return {"store": Store(path or "tokens.duckdb", keep_events=events, keep_rollups=rollups)}


def _budgets(said: str | None) -> str | list[str] | None:
    """A file by how its name ends, else texts."""
    said = (said or "").strip()
    return said if said.endswith(_FILES) else _list(said, ";")


def _list(said: str | None, separator: str = ",") -> list[str]:
    return [part.strip() for part in (said or "").split(separator) if part.strip()]


def _number(name: str, said: str | None) -> int | None:
    if not said:
        return None
    try:
        return int(said)
    except ValueError:
        raise ConfigurationError(f"{name}={said!r}: expected an integer") from None


def _switch(name: str, said: str | None) -> bool | None:
    if not said:
        return None
    switch = _SWITCHES.get(said.strip().lower())
    if switch is None:
        raise ConfigurationError(f"{name}={said!r}: expected true or false")
    return switch


def _gateways(said: str | None) -> dict[str, str]:
    gateways = {}
    for part in _list(said):
        host, equals, provider = part.partition("=")
        if not equals:
            raise ConfigurationError(f"ATM_GATEWAYS={said!r}: expected HOST=PROVIDER, not {part!r}")
        gateways[host.strip()] = provider.strip()
    return gateways
