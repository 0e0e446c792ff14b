"""What users hold on to. A change here is a change of the public API: see docs/decisions."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

import otel_atm as atm

NAMES = [
    "Admission",
    "Alert",
    "AlertLevel",
    "AtmError",
    "Budget",
    "BudgetError",
    "BudgetStatus",
    "ConfigurationError",
    "Decision",
    "Diagnosis",
    "Draft",
    "DuckDBMetricExporter",
    "DuckDBSpanExporter",
    "Finding",
    "Handle",
    "OtelAtmInstrumentor",
    "Quota",
    "Reader",
    "Scope",
    "Store",
    "StoreError",
    "TokenQuotaExceeded",
    "TokenSpanProcessor",
    "Usage",
    "UsageEvent",
    "__version__",
    "add_model_response",
    "add_user_request",
    "admit",
    "advice",
    "carrying",
    "connect",
    "context",
    "doctor",
    "hook",
    "init",
    "limits",
]

SIGNATURES = {
    "init": (
        "(provider: 'TracerProvider | None' = None, "
        "budgets: 'Budgets' = (), "
        "ledger: 'str | Ledger[Any]' = 'auto', "
        "store: 'str | os.PathLike[str] | Store | None' = 'tokens.duckdb', "
        "default_hold: 'int' = 1000, "
        "meter_provider: 'MeterProvider | None' = None, "
        "baggage_keys: 'Iterable[str]' = (), "
        "prices: 'str | os.PathLike[str] | None' = None, "
        "on_alert: 'Callable[[Alert], None] | None' = None, "
        "clock: 'Callable[[], int]' = …, guards: 'bool' = True, "
        "sampler: 'bool' = True, "
        "gateways: 'Mapping[str, str] | None' = None, "
        "include_usage: 'bool' = False, "
        "carry_context: 'bool' = False, "
        "data_manager: 'str | None' = None, "
        "db_path: 'str | os.PathLike[str] | None' = None, "
        "default_app_id: 'str | None' = None, "
        "tokenizer: 'Tokenizer | None' = None, "
        "telemetry_failure_policy: 'str' = 'warn') -> 'Handle'"
    ),
    "TokenSpanProcessor": (
        "(budgets: 'Budgets' = (), "
        "ledger: 'str | Ledger[Any]' = 'auto', "
        "store: 'str | os.PathLike[str] | Store | None' = None, "
        "*, "
        "default_hold: 'int' = 1000, "
        "meter_provider: 'MeterProvider | None' = None, "
        "baggage_keys: 'Iterable[str]' = (), "
        "prices: 'str | os.PathLike[str] | None' = None, "
        "on_alert: 'Callable[[Alert], None] | None' = None, "
        "clock: 'Callable[[], int]' = …, guards: 'bool' = True, "
        "gateways: 'Mapping[str, str] | None' = None, "
        "include_usage: 'bool' = False) -> 'None'"
    ),
    "Budget": (
        "(text: 'str | None' = None, "
        "/, "
        "*, "
        "limit: 'Number | str' = …, "
        "unit: 'str' = …, "
        "window: 'str' = …, "
        "by: 'str | Iterable[str]' = …, "
        "match: 'Mapping[str, str | Iterable[str]]' = …, "
        "action: 'str' = 'block', "
        "mode: 'str' = 'expected', "
        "missing: 'str' = 'shared', "
        "on_error: 'str' = 'allow', "
        "alert_at: 'Number | str | Iterable[Number | str]' = (), "
        "degrade_to: 'str | None' = None, "
        "block_at: 'Number' = 1.2, "
        "name: 'str | None' = None, "
        "tz: 'str' = 'UTC', "
        "week_start: 'str' = 'monday', "
        "month_day: 'int' = 1, "
        "weights: 'Mapping[str, Number] | None' = None, "
        "on_unknown_price: 'str | Number | None' = None) -> 'None'"
    ),
    "admit": (
        "(*, "
        "tokens: 'int | None' = None, "
        "input_tokens: 'int | None' = None, "
        "output_tokens: 'int | None' = None, "
        "model: 'str | None' = None, "
        "provider: 'str | None' = None, "
        "operation: 'str' = 'chat', "
        "wait_s: 'float' = 0) -> 'Admission'"
    ),
    "advice": "(model: 'str | None' = None, provider: 'str | None' = None) -> 'str | None'",
    "context": (
        "(*, tags: 'Iterable[str]' = (), "
        "_additional_metadata_tags: 'Iterable[str]' = (), "
        "_additional_metadata_config: 'Mapping[str, Any] | None' = None, "
        "**keys: 'str | int | None') -> 'None'"
    ),
    "add_user_request": (
        "(request: 'object' = None, *, "
        "token_count: 'int | None' = None, "
        "model_id: 'str | None' = None, "
        "username: 'str | None' = None, "
        "session_id: 'str | None' = None, "
        "app_id: 'str | None' = None, "
        "_additional_metadata_tags: 'Sequence[str] | None' = None, "
        "_additional_metadata_config: 'Mapping[str, Any] | None' = None) -> 'str'"
    ),
    "hook": "(when: \"Literal['pre', 'post']\") -> 'Callable[[Hook], Hook]'",
    "carrying": "(executor: 'Executor') -> 'Executor'",
    "Store": (
        "(path: 'str | os.PathLike[str]', *, spool_max_bytes: 'int | str' = 1073741824, "
        "keep_events: 'str | timedelta | None' = None, "
        "keep_rollups: 'str | timedelta | None' = None, "
        "trouble: 'Trouble | None' = None) -> 'None'"
    ),
    "connect": "(path: 'str | os.PathLike[str]' = 'tokens.duckdb') -> 'Reader'",
}

METHODS = {
    "Admission": ["amend", "call_id", "decision", "release", "settle", "touch"],
    "Handle": [
        "budgets",
        "doctor",
        "exempt",
        "force_flush",
        "grant",
        "reset",
        "resume",
        "set_budgets",
        "shutdown",
        "stop",
    ],
    "OtelAtmInstrumentor": ["instrument", "uninstrument"],
    "Reader": ["close", "sql"],
    "Store": ["close", "flush"],
    "TokenSpanProcessor": [
        "admit",
        "advice",
        "budgets",
        "exempt",
        "force_flush",
        "grant",
        "on_end",
        "on_start",
        "reset",
        "resume",
        "set_budgets",
        "shutdown",
        "stop",
    ],
}

public = pytest.mark.parametrize("name", [name for name in NAMES if name != "__version__"])


def test_these_names_are_public() -> None:
    assert atm.__all__ == NAMES


def test_they_are_what_dir_shows_and_a_star_imports() -> None:
    namespace: dict[str, Any] = {}
    exec("from otel_atm import *", namespace)
    assert dir(atm) == sorted(NAMES)
    assert sorted(namespace.keys() - {"__builtins__"}) == sorted(NAMES)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError) as raised:
        _ = atm.Quotum
    assert str(raised.value) == "module 'otel_atm' has no attribute 'Quotum'"


@pytest.mark.parametrize(("name", "signature"), SIGNATURES.items(), ids=SIGNATURES)
def test_a_signature_is_kept(name: str, signature: str) -> None:
    shown = str(inspect.signature(getattr(atm, name)))
    assert re.sub(r"<object object at 0x\w+>|<built-in function time_ns>", "…", shown) == signature


@pytest.mark.parametrize(("name", "methods"), METHODS.items(), ids=METHODS)
def test_a_method_is_kept(name: str, methods: list[str]) -> None:
    assert [method for method in methods if not hasattr(getattr(atm, name), method)] == []


@public
def test_every_public_name_says_what_it_is(name: str) -> None:
    assert getattr(atm, name).__doc__


@public
def test_every_public_method_says_what_it_does(name: str) -> None:
    members = vars(getattr(atm, name)) if inspect.isclass(getattr(atm, name)) else {}
    silent = [
        member
        for member, value in members.items()
        if not member.startswith("_")
        and (inspect.isroutine(value) or isinstance(value, property))
        and not value.__doc__
    ]
    assert silent == []


@pytest.mark.parametrize("name", SIGNATURES)
def test_every_parameter_is_documented(name: str) -> None:
    face = getattr(atm, name)
    silent = [
        parameter
        for parameter in inspect.signature(face).parameters
        if not re.search(rf"^ +{parameter}: ", face.__doc__, re.MULTILINE)
    ]
    assert silent == []


def test_the_version_is_one() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc|\.dev)\d+)?", atm.__version__)
