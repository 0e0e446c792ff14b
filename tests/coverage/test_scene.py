"""What is found in an environment, without importing any of it."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

from otel_atm.coverage.instrumentations import INSTRUMENTATIONS
from otel_atm.coverage.loaded import is_active
from otel_atm.coverage.scene import UNKNOWN, has_native_spans, installed
from tests.coverage.conftest import Install


def test_what_the_tables_name_is_found_with_its_version(install: Install) -> None:
    folder = install(openai="3.54.0", google_cloud_aiplatform="1.2", numpy="2.4")
    assert installed([str(folder)]) == {"openai": "3.54.0", "google-cloud-aiplatform": "1.2"}


def test_a_distribution_without_a_version_is_found_all_the_same(install: Install) -> None:
    folder = install(openai="3.54.0")
    (folder / "openai-3.54.0.dist-info/METADATA").write_text("Name: openai\n")
    assert installed([str(folder)]) == {"openai": UNKNOWN}


def test_a_copy_that_nobody_installed_is_found_and_a_mere_folder_is_not(tmp_path: Path) -> None:
    (tmp_path / "cohere").mkdir()
    (tmp_path / "cohere/__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "ollama").mkdir()
    assert installed([str(tmp_path)]) == {"cohere": UNKNOWN}


def test_this_environment_is_read_as_it_is() -> None:
    found = installed()
    for name in ("openai", "anthropic", "httpx2", "opentelemetry-instrumentation-genai-openai"):
        assert found[name] == importlib.metadata.version(name)
    assert has_native_spans({})
    assert not has_native_spans({"ANTHROPIC_OPEN_TELEMETRY": "False"})


def test_an_anthropic_client_that_makes_no_spans_is_known_as_such(tmp_path: Path) -> None:
    (tmp_path / "anthropic").mkdir()
    (tmp_path / "anthropic/__init__.py").write_text("")
    assert not has_native_spans({}, [str(tmp_path)])
    (tmp_path / "anthropic/_tracing.py").write_text("")
    assert has_native_spans({}, [str(tmp_path)])


def test_an_instrumentation_is_active_while_it_is_on() -> None:
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

    (genai,) = (each for each in INSTRUMENTATIONS if each.name.endswith("genai-openai"))
    assert not is_active(genai)
    OpenAIInstrumentor().instrument(skip_dep_check=True)
    try:
        assert is_active(genai)
    finally:
        OpenAIInstrumentor().uninstrument()
    assert not is_active(genai)


LOOK = """
import json, sys
from otel_atm.coverage.examine import examine_environment, judge
found = [finding.name for finding in judge(examine_environment(guards=True))]
heavy = [name for name in ("openai", "anthropic", "litellm", "duckdb", "aiohttp", "httpx", "httpx2")
         if name in sys.modules]
print(json.dumps([found, heavy]))
"""


def test_nothing_that_is_judged_is_imported() -> None:
    ran = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, check=True)
    found, heavy = json.loads(ran.stdout)
    assert {"openai", "anthropic"} <= set(found)
    assert heavy == []
