"""`otel-atm doctor`, in environments of nothing but metadata, and in this one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import otel_atm.coverage.examine  # so that nothing is left to be imported from elsewhere
import otel_atm.coverage.text  # noqa: F401
from tests.cli.conftest import Run
from tests.coverage.conftest import install  # noqa: F401 - a fixture


@pytest.fixture
def there(
    install: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """Makes an environment in which only `name="version"` is installed."""
    for name in ("ATM_DB", "ATM_LEDGER", "OTEL_SDK_DISABLED", "OTEL_TRACES_SAMPLER"):
        monkeypatch.delenv(name, raising=False)

    def call(**versions: str) -> None:
        others = [folder for folder in sys.path if "site-packages" not in folder]
        monkeypatch.setattr(sys, "path", [str(install(**versions)), *others])

    return call


def test_all_enforced_ends_with_0(run: Run, there: Any) -> None:
    there(openai="3.54.0", opentelemetry_instrumentation_genai_openai="1.3b0", requests="2.34")
    for options in ([], ["--no-guards"]):
        result = run("doctor", *options)
        assert result.exit_code == 0, result.output
        assert "Every call that is over budget is stopped before it is sent." in result.output
    assert "requests; openai: batches, Realtime over websockets." in run("doctor").output


def test_only_metered_ends_with_1_unless_that_is_allowed(run: Run, there: Any) -> None:
    there(openai="3.54.0", openinference_instrumentation_openai="0.1.66")
    assert run("doctor").exit_code == 0
    assert run("doctor", "--no-guards").exit_code == 1
    assert run("doctor", "--no-guards", "--allow", "metered").exit_code == 0
    assert "turn guards on: init(guards=True)" in run("doctor", "--no-guards").output


def test_unseen_ends_with_1_unless_it_is_ignored_or_allowed(run: Run, there: Any) -> None:
    there(google_cloud_aiplatform="1.2", openai="3.54.0")
    assert run("doctor").exit_code == run("doctor", "--allow", "metered").exit_code == 1
    assert run("doctor", "--allow", "unseen").exit_code == 0
    assert run("doctor", "--ignore", "google-cloud-aiplatform").exit_code == 0


def test_what_is_broken_ends_with_1_whatever_is_allowed(
    run: Run, there: Any, tmp_path: Path
) -> None:
    there(openai="3.54.0")
    (tmp_path / "tokens.duckdb").write_text("no database, but long enough")
    assert run("doctor", "--allow", "unseen").exit_code == 1
    assert run("doctor", "--db", "other.duckdb").exit_code == 0


def test_nothing_installed_is_said(run: Run, there: Any) -> None:
    there()
    result = run("doctor", "--ledger", "memory")
    assert result.exit_code == 0
    assert "No client that calls models is installed here." in result.output
    assert "ledger" not in result.output


@pytest.mark.parametrize(
    "arguments",
    [["--allow", "all"], ["--ignore", "nothing"], ["--ledger", "what"], ["--what"]],
)
def test_called_wrongly_ends_with_2(run: Run, there: Any, arguments: list[str]) -> None:
    there(openai="3.54.0")
    result = run("doctor", *arguments)
    assert result.exit_code == 2, result.output


def test_json_has_stable_keys(run: Run, there: Any) -> None:
    there(openai="3.54.0")
    said = json.loads(run("doctor", "--json").stdout)
    assert list(said) == ["state", "guards", "findings"]
    assert said["findings"][0] == {
        "part": "client",
        "name": "openai",
        "state": "enforced",
        "why": "guards refuse what it sends with httpx2",
        "do": "",
        "version": "3.54.0",
        "loaded": None,
        "counts": True,
    }


def test_this_environment_fits_into_the_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for columns in (60, 100):
        monkeypatch.setenv("COLUMNS", str(columns))
        output = run("doctor").output
        assert "openai 3." in output
        assert "Instrumentations" in output


def test_it_leaves_nothing_behind(run: Run, there: Any, tmp_path: Path) -> None:
    there(openai="3.54.0")
    run("doctor")
    assert [each.name for each in tmp_path.iterdir()] == ["site-packages"]
