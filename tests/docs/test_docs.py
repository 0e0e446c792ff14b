"""The documentation is true: its code runs, its names exist, and what exists is in it."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import duckdb
import pytest
import yaml
from opentelemetry.metrics import Meter, MeterProvider, NoOpMeter
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

import otel_atm as atm
from otel_atm import environment, semconv, testing, tokenizers
from otel_atm.cli import main
from otel_atm.gate import Gate
from otel_atm.ledger import MemoryLedger
from otel_atm.metrics import Metrics
from otel_atm.spans.emitters import EMITTERS
from otel_atm.spans.endings import CANCELLED, FREE
from otel_atm.testing import ProviderServer
from tests.docs import run_page
from tests.docs.pages import (
    DOCS,
    ROOT,
    Step,
    anchors,
    headings,
    link_problems,
    nav_problems,
    order_problems,
    pages,
    row_problems,
    section,
    steps,
    table_rows,
    title,
    undocumented,
    without_code,
)
from tests.tokenizers import data

REFERENCE = DOCS / "reference"
RUNNING = [page for page in pages() if steps(page.read_text("utf-8"))]


def reference(name: str) -> str:
    return (REFERENCE / name).read_text("utf-8")


# What the pages do ----------------------------------------------------------------------------


#: Our own code raises no warning on any page.
STRICT = ("-W", "error", "-W", "ignore::DeprecationWarning")


class Runner:
    """Runs pages, each in a process of its own, against a provider on this machine."""

    def __init__(self, provider: ProviderServer) -> None:
        kept = {key: value for key, value in os.environ.items() if key[:4] not in ("ATM_", "OTEL")}
        self._process = subprocess.Popen(
            [sys.executable, *STRICT, "-m", "tests.docs.run_page"],
            cwd=ROOT,
            env={
                **kept,
                "PYTHONPATH": str(ROOT),
                "OPENAI_BASE_URL": provider.openai_url,
                "OPENAI_API_KEY": "none",
                "ANTHROPIC_BASE_URL": provider.anthropic_url,
                "ANTHROPIC_API_KEY": "none",
                "ATM_TOKENIZERS_DIR": str(data.folder()),
                "GOOGLE_GEMINI_BASE_URL": provider.gemini_url,
                "GEMINI_API_KEY": "none",
                "NO_COLOR": "1",
                "COLUMNS": "100",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, page: Path) -> tuple[int, str]:
        """Exit status and output."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(page, file=self._process.stdin, flush=True)
        status, output = json.loads(self._process.stdout.readline())
        return status, output

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with ProviderServer() as provider:
        started = Runner(provider)
        yield started
        started.close()


@pytest.mark.parametrize("page", RUNNING, ids=title)
def test_the_code_of_a_page_runs_and_prints_what_the_page_says(page: Path, runner: Runner) -> None:
    status, output = runner.run(page)
    assert status == 0, output


# What exists is documented --------------------------------------------------------------------


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    text = reference("api.md")
    shown = set(re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE))
    names = {f"otel_atm.{name}" for name in atm.__all__ if name != "__version__"}
    names |= {f"otel_atm.testing.{name}" for name in testing.__all__}
    names |= {f"otel_atm.tokenizers.{name}" for name in tokenizers.__all__}
    assert names <= shown
    assert undocumented(["otel_atm.__version__"], text) == []


def test_every_column_is_on_the_page_of_events_in_its_order_and_type() -> None:
    text = reference("events.md")
    for relation in ("usage_events", "usage_1m", "usage_1h"):
        columns = _columns(relation)
        part = section(text, f"`{relation}`").partition("\n### ")[0]
        assert row_problems(columns, part) == []
        assert order_problems(columns, part) == []


def _columns(relation: str) -> dict[str, tuple[str, ...]]:
    schema = (ROOT / "otel_atm/store/schema.sql").read_text("utf-8")
    with duckdb.connect(":memory:") as memory:
        for statement in duckdb.extract_statements(schema):
            memory.execute(statement)
        found = memory.execute(f"describe {relation}").fetchall()
    return {name: (kind,) for name, kind, *_ in found}


class Instruments(MeterProvider):
    """Remembers the instruments that are registered: name → kind and unit."""

    def __init__(self) -> None:
        self.registered: dict[str, tuple[str, ...]] = {}

    def get_meter(self, *_: Any, **__: Any) -> Meter:
        return _Registrar("docs", self.registered)


class _Registrar(NoOpMeter):
    def __init__(self, name: str, registered: dict[str, tuple[str, ...]]) -> None:
        super().__init__(name)
        self._registered = registered

    def create_observable_counter(  # type: ignore[override]
        self, name: str, callbacks: Any, unit: str, description: str
    ) -> None:
        self._registered[name] = ("counter", unit)

    def create_observable_gauge(  # type: ignore[override]
        self, name: str, callbacks: Any, unit: str, description: str
    ) -> None:
        self._registered[name] = ("gauge", unit)


def test_every_metric_is_on_its_page_with_kind_and_unit() -> None:
    instruments = Instruments()
    Metrics(Gate([], MemoryLedger()), None, instruments)
    text = section(reference("metrics.md"), "Instruments")
    assert row_problems(instruments.registered, text) == []


def test_every_attribute_of_a_metric_is_on_its_page(tmp_path: Path) -> None:
    text = section(reference("metrics.md"), "Attributes")
    assert undocumented(_metric_attributes(tmp_path), text) == []


def _metric_attributes(folder: Path) -> set[str]:
    reader = InMemoryMetricReader()
    meter_provider = SdkMeterProvider([reader], shutdown_on_exit=False)
    provider = TracerProvider(shutdown_on_exit=False)
    processor = atm.TokenSpanProcessor(
        [atm.Budget("1 request / day", alert_at=[1])],
        store=folder / "tokens.duckdb",
        meter_provider=meter_provider,
    )
    provider.add_span_processor(processor)
    with atm.context(app="bot", env="prod", team="ml", user="ann"):
        for _ in range(2):
            try:
                provider.get_tracer("docs").start_span("chat", attributes=CHAT).end()
            except atm.TokenQuotaExceeded:
                continue
    (resource,) = reader.get_metrics_data().resource_metrics
    (scope,) = resource.scope_metrics
    points = [point for metric in scope.metrics for point in metric.data.data_points]
    processor.retire()
    meter_provider.shutdown()
    rare = {"otel.metric.overflow", "reason"}
    return rare.union(*(point.attributes for point in points))


CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5.1",
}


def test_every_span_attribute_of_ours_is_on_its_page() -> None:
    ours = [
        value
        for name, value in vars(semconv).items()
        if name.startswith("ATM_") and name != "ATM_PREFIX"
    ]
    assert undocumented(ours, reference("span-attributes.md")) == []


def test_every_attribute_that_says_who_pays_is_documented() -> None:
    text = (DOCS / "how-to/attribution.md").read_text("utf-8")
    assert undocumented([*semconv.SPAN_SCOPE, *semconv.RESOURCE_SCOPE], text) == []


def test_every_attribute_that_is_read_is_on_the_page_of_emitters() -> None:
    text = reference("emitters.md")
    for emitter in EMITTERS:
        assert emitter.name in text
        read = [*emitter.provider, *emitter.model, *emitter.input, *emitter.output]
        read += [*emitter.cache_read, *emitter.cache_write, *emitter.reasoning, emitter.kind]
        assert undocumented([*read, *emitter.operations], text) == []


def test_every_known_error_type_is_on_the_page_of_endings() -> None:
    assert undocumented(FREE | CANCELLED, reference("endings.md")) == []


def test_every_command_and_option_is_on_the_page_of_the_command_line() -> None:
    assert command_problems(main, reference("cli.md")) == []


def command_problems(group: click.Group, text: str) -> list[str]:
    problems = []
    for name, command in group.commands.items():
        part = section(text, f"`otel-atm {name}`")
        if not part:
            problems.append(f"there is no section `otel-atm {name}`")
        inner = list(command.commands.items()) if isinstance(command, click.Group) else []
        options = [
            option
            for each in (command, *(one for _, one in inner))
            for parameter in each.params
            if isinstance(parameter, click.Option)
            for option in parameter.opts
        ]
        options += [inner_name for inner_name, _ in inner]
        problems += [f"{name}: {option} is missing" for option in undocumented(options, part)]
    shown = {each.strip("`") for each in headings(text) if each.startswith("`otel-atm ")}
    return problems + sorted(shown - {f"otel-atm {name}" for name in group.commands})


def test_every_environment_variable_that_we_read_is_on_its_page() -> None:
    assert undocumented(_variables_read(), reference("environment.md")) == []


def test_the_page_of_the_environment_names_no_variable_of_ours_that_is_not_read() -> None:
    given = {row[0].strip("`") for row in table_rows(reference("environment.md"))}
    ours = {name for name in given if name.startswith("ATM_")}
    assert ours <= _variables_read()


class _Asked(dict[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self, **variables: str) -> None:
        super().__init__(variables)
        self.names: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.names.add(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self.names.add(str(key))
        return super().__contains__(key)


def _variables_read() -> set[str]:
    asked = _Asked()
    for signal in ("traces", "metrics"):
        assert list(environment.exporters(signal, asked)) == []
        environment._protocol(signal, asked)
    commands = [*main.commands.values()]
    commands += [
        one
        for group in commands
        if isinstance(group, click.Group)
        for one in group.commands.values()
    ]
    options = [option for command in commands for option in command.params]
    named = {option.envvar for option in options if isinstance(option.envvar, str)}
    for source in (ROOT / "otel_atm").rglob("*.py"):
        named |= variables_in(source.read_text("utf-8"))
    return asked.names | named


def variables_in(source: str) -> set[str]:
    """Names that code looks up in ``environ`` or ``os.environ``, as far as they are literals."""
    named = set()
    for node in ast.walk(ast.parse(source)):
        asked: ast.expr | None = None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            called = f"{ast.unparse(node.func.value)}.{node.func.attr}"
            if called.endswith(("environ.get", "os.getenv", "environ.setdefault", "environ.pop")):
                asked = node.args[0]
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("environ"):
            asked = node.slice
        if isinstance(asked, ast.Constant) and isinstance(asked.value, str):
            named.add(asked.value)
    return named


# The pages hang together ----------------------------------------------------------------------


@pytest.mark.parametrize("page", pages(), ids=title)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert link_problems(page, page.read_text("utf-8")) == []


def test_every_page_is_in_the_navigation() -> None:
    files = [page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")]
    assert nav_problems(_configuration()["nav"], files) == []


def _configuration() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    return read


@pytest.mark.parametrize("page", pages(), ids=title)
def test_every_page_has_one_title_and_says_below_it_what_one_gets(page: Path) -> None:
    text = page.read_text("utf-8")
    assert len(re.findall(r"^# ", without_code(text), re.MULTILINE)) == 1
    assert re.match(r"# .+\n\n(?:\*\*)?[A-Z`]", text)


def test_the_site_fetches_nothing_from_other_hosts() -> None:
    configuration = _configuration()
    assert configuration["theme"]["font"] is False
    assert not {"extra_css", "extra_javascript", "repo_url", "copyright"} & configuration.keys()
    plugins = configuration["plugins"]
    assert {next(iter(p)) if isinstance(p, dict) else p for p in plugins} == {
        "search",
        "mkdocstrings",
    }
    for page in pages():
        text = without_code(page.read_text("utf-8"))
        assert not re.search(r"<(?:script|img|link|iframe)\b", text)


# The checks notice ----------------------------------------------------------------------------

BAD_PAGE = """# Bad

<!-- expect: 4 -->
```python
print(1 + 2)
```

```python
print("one")
```

<!-- output -->
```text
two
```

```python
import otel_atm
otel_atm.nothing
```
"""


def test_a_page_that_prints_something_else_or_raises_fails(tmp_path: Path, runner: Runner) -> None:
    page = tmp_path / "bad.md"
    page.write_text(BAD_PAGE)
    status, output = runner.run(page)
    assert status == 1
    assert f"{page}:5: expected '4' in\n3" in output
    assert f"{page}:14: the page shows\ntwo\n\nbut it was\none" in output
    assert f"{page}:18: Traceback" in output
    assert "AttributeError: module 'otel_atm' has no attribute 'nothing'" in output


def test_a_command_that_fails_or_prints_something_else_fails() -> None:
    shows = Step("console", "$ otel-atm --version\notel-atm 0.0.0\n", 1)
    fails = Step("console", "$ otel-atm nothing\n", 1)
    other = Step("console", "$ rm -r .\n", 1)
    shown, failed, refused = run_page.run([shows, fails, other], "page")
    assert "otel-atm 0.0.0" in shown
    assert "No such command 'nothing'" in failed
    assert "'rm' cannot be run from here" in refused


def test_outputs_may_differ_in_what_differs_from_run_to_run_only() -> None:
    one = "resets in 5 h 12 min  at 127.0.0.1:80 01a20128-b9dd-71c2-8e7b-c3f510000000\n"
    other = "resets in 48 s at 127.0.0.1:4318 01a20128-ba2c-71c2-8e7b-c3f510000001"
    assert run_page.alike(one) == run_page.alike(other.replace("s at", "s   at"))
    assert run_page.alike("17 tokens") != run_page.alike("18 tokens")


def test_fences_are_read_with_their_marks() -> None:
    text = (
        "<!-- expect: a -->\n<!-- expect: b -->\n\n```python\nx\n```\n"
        "```console\n$ otel-atm a\n```\n<!-- run -->\n```console\n$ otel-atm b\n```\n"
        "    ```python\n    y\n      z\n    ```\n```text\nno\n```\n"
    )
    assert steps(text) == [
        Step("python", "x\n", 5, ("a", "b")),
        Step("console", "$ otel-atm b\n", 12),
        Step("python", "y\n  z\n", 15),
    ]


def test_missing_and_invented_rows_are_found() -> None:
    text = "| Name | Type |\n|---|---|\n| `a` | `BIGINT` |\n| `c` | `DOUBLE` |\n| `d` | `X` |\n"
    expected = {"a": ("BIGINT",), "b": ("DOUBLE",), "c": ("BIGINT",)}
    assert row_problems(expected, text) == [
        "b is missing",
        "d does not exist",
        "c is ('DOUBLE',), not ('BIGINT',)",
    ]
    assert order_problems(["c", "a"], text) != []
    assert undocumented(["a", "b"], "`a` and b") == ["b"]


def test_missing_commands_and_options_are_found() -> None:
    group = click.Group(
        commands=[
            click.Command("one", params=[click.Option(["--db"])]),
            click.Command("two"),
        ]
    )
    text = "## `otel-atm one`\n\nwithout\n\n## `otel-atm three`\n"
    assert command_problems(group, text) == [
        "one: --db is missing",
        "there is no section `otel-atm two`",
        "otel-atm three",
    ]


def test_variables_in_code_are_found() -> None:
    source = (
        "import os\nos.environ['A']\nos.environ.get('B', 1)\nenviron.get('C')\n"
        "os.getenv('D')\ndata.get('E')\n"
    )
    assert variables_in(source) == {"A", "B", "C", "D"}


def test_links_that_lead_nowhere_are_found() -> None:
    page = DOCS / "bad.md"
    text = (
        "# Title\n[a](nowhere.md) [b](#title) [c](#other) [d](../README.md) [e](http://x.example) "
        "[f](how-to/collector.md#run-it) [g](how-to/collector.md#gone)\n"
        "```text\n[h](in-code.md)\n```\n"
    )
    assert link_problems(page, text) == [
        "nowhere.md: there is no nowhere.md",
        "#other: there is no heading #other",
        "../README.md: leads out of the documentation",
        "how-to/collector.md#gone: there is no heading #gone",
    ]


def test_anchors_are_those_that_the_site_has() -> None:
    assert anchors("# `atm.calls`, twice\n## A — b {#c}\n") == {"atmcalls-twice", "a-b", "c"}


def test_pages_that_the_navigation_lacks_or_invents_are_found() -> None:
    nav = ["a.md", {"Part": ["b.md", {"C": "c.md"}, "b.md"]}]
    assert nav_problems(nav, ["a.md", "b.md", "d.md"]) == [
        "d.md is not in nav",
        "c.md is in nav, but there is no such page",
        "b.md is twice in nav",
    ]
