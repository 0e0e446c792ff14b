"""OTLP: what a program that only calls `otel_atm.init` sends to a collector."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from time import time_ns
from typing import Any

import pytest

import otel_atm as atm
from otel_atm.pricing import Prices, usd
from tests.e2e.otlp_receiver import Metric, Receiver

ROOT = Path(atm.__file__).parent.parent
PER_USER = "1000 tokens / month per user"

#: Two calls of ann's that tell their usage, one that does not, and one that is still open while
#: metrics are collected; three calls of bob's, and one that is refused. Nothing is drained before
#: the second collection: the lock of the store is held.
PROGRAM = """
import fcntl, json, os, sys
from pathlib import Path
from opentelemetry import metrics, trace
import otel_atm as atm

path = sys.argv[1]
ops = atm.Budget("3 requests / month where team=ops", name="ops")
handle = atm.init(budgets=["1000 tokens / month per user", ops], store=path, default_hold=100)
tracer = trace.get_tracer("app")

def start():
    return tracer.start_span("chat gpt-5.1", attributes={
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5.1",
    })

def call():
    span = start()
    span.set_attributes({"gen_ai.usage.input_tokens": 11, "gen_ai.usage.output_tokens": 7})
    span.end()

lock = os.open(path + ".lock", os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(lock, fcntl.LOCK_EX)
with atm.context(user="ann", session="s1", app="bot", team="ml", env="prod", tags=["b", "a"]):
    call()
    call()
    start().end()
    still_open = start()
with atm.context(user="bob", session="s2", team="ops", department="finance"):
    for _ in range(3):
        call()
    try:
        call()
    except atm.TokenQuotaExceeded as refusal:
        error = str(refusal)
spooled = sum(segment.stat().st_size for segment in Path(path + ".spool").iterdir())
assert metrics.get_meter_provider().force_flush()
os.close(lock)
assert handle.force_flush()
assert metrics.get_meter_provider().force_flush()
still_open.end()
print(json.dumps({"error": error, "spooled": spooled}))
"""

#: Events of a program whose spool cannot be written: its folder is a file.
WITHOUT_A_DISK = """
import sys
from pathlib import Path
from opentelemetry import metrics, trace
import otel_atm as atm

Path(sys.argv[1] + ".spool").touch()
atm.init(store=sys.argv[1])
for _ in range(3):
    trace.get_tracer("app").start_span("chat", attributes={"gen_ai.operation.name": "chat"}).end()
assert metrics.get_meter_provider().force_flush()
"""

#: Tries `init` under each of several environments, each in a process of its own.
UNDER_EACH = """
import json, os, sys, traceback
import opentelemetry.sdk.metrics.export, opentelemetry.sdk.trace.export
from opentelemetry import metrics, trace
import otel_atm as atm

atm.init
for environment in json.loads(sys.argv[1]):
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.environ.update(environment)
        try:
            atm.init(store=None)
            said = "no error", ""
        except Exception as error:
            said = type(error).__name__, str(error)
        untouched = isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
        os.write(writer, json.dumps([*said, untouched]).encode())
        os._exit(0)
    os.close(writer)
    print(os.read(reader, 65536).decode())
    os.wait()
"""

LABELS = {
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.token.type",
    "atm.app",
    "atm.env",
    "atm.team",
    "atm.decision",
    "atm.budget.name",
    "level",
    "state",
    "reason",
}


def run_program(source: str, *arguments: str, **environment: str) -> str:
    """Run a program of its own; its output."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source, *arguments],
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def values(metric: Metric, *keys: str) -> dict[Any, float]:
    """The values of a metric by some of its attributes; together these must tell points apart."""
    found = {
        tuple(attributes.get(key) for key in keys): value for attributes, value in metric.points
    }
    assert len(found) == len(metric.points)
    return found


class Sent:
    """What a program said, sent and stored."""

    def __init__(self, protocol: str, folder: Path) -> None:
        path = folder / "tokens.duckdb"
        with Receiver() as receiver:
            output = run_program(
                PROGRAM,
                str(path),
                OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint(protocol),
                OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
                OTEL_SERVICE_NAME="shop",
            )
        assert receiver.failures == []
        self.said = json.loads(output)
        self.spans = receiver.spans
        ours = [
            {name: metric for name, metric in export.items() if metric.scope == "otel_atm"}
            for export in receiver.exports
        ]
        self.before, self.after = ours[0], ours[1]
        with atm.connect(path) as db:
            self.rows = db.sql(
                "select event_id, span_id, decision, user_id from usage_events order by event_id"
            ).fetchall()


@pytest.fixture(scope="module", params=["http/protobuf", "grpc"])
def sent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sent:
    return Sent(request.param, tmp_path_factory.mktemp("otlp"))


class TestSpans:
    def test_each_row_of_the_file_has_its_span_at_the_collector(self, sent: Sent) -> None:
        assert len(sent.rows) == 8
        arrived = {
            (span.attributes["atm.call_id"], span.span_id, span.attributes["atm.decision"])
            for span in sent.spans
        }
        assert arrived == {row[:3] for row in sent.rows}

    def test_they_say_who_pays(self, sent: Sent) -> None:
        by_ann = [span for span in sent.spans if span.attributes["atm.user"] == "ann"]
        assert len(by_ann) == 4
        for span in by_ann:
            said = {k: v for k, v in span.attributes.items() if k.startswith("atm.")}
            assert said == {
                "atm.call_id": span.attributes["atm.call_id"],
                "atm.service": "shop",
                "atm.user": "ann",
                "atm.session": "s1",
                "atm.app": "bot",
                "atm.team": "ml",
                "atm.env": "prod",
                "atm.tags": ["a", "b"],
                "atm.decision": "allowed",
            }

    def test_a_refused_one_says_why(self, sent: Sent) -> None:
        (refused,) = [span for span in sent.spans if span.error is not None]
        assert refused.error == sent.said["error"]
        assert refused.attributes["error.type"] == "TokenQuotaExceeded"
        assert refused.attributes["atm.decision"] == "refused"
        assert refused.attributes["atm.budget.name"] == "ops"
        assert refused.attributes["atm.user"] == "bob"
        assert refused.attributes["atm.department"] == "finance"


class TestMetrics:
    def test_all_that_the_page_names_arrive_in_their_units(self, sent: Sent) -> None:
        assert {name: metric.unit for name, metric in sent.before.items()} == {
            "atm.tokens": "{token}",
            "atm.cost": "{USD}",
            "atm.calls": "{call}",
            "atm.call.unmetered": "{call}",
            "atm.call.unbacked": "{call}",
            "atm.budget.limit": "1",
            "atm.budget.used": "1",
            "atm.budget.held": "1",
            "atm.budget.utilization": "1",
            "atm.budget.scopes": "{scope}",
            "atm.budget.overshoot": "1",
            "atm.spool.bytes": "By",
            "atm.drain.delay": "s",
        }

    def test_tokens_are_counted_by_type_team_and_decision(self, sent: Sent) -> None:
        keys = "gen_ai.token.type", "atm.team", "atm.decision"
        assert values(sent.before["atm.tokens"], *keys) == {
            ("input", "ml", "allowed"): 11 + 11 + 50,
            ("output", "ml", "allowed"): 7 + 7 + 50,
            ("input", "ops", "allowed"): 33,
            ("output", "ops", "allowed"): 21,
            ("input", "ops", "refused"): 0,
            ("output", "ops", "refused"): 0,
        }

    def test_money_is_counted_where_a_price_is_known(self, sent: Sent) -> None:
        price = Prices().find("openai", "gpt-5.1", time_ns())
        assert price is not None

        def usd_of(given: int, made: int) -> Any:
            return pytest.approx(usd(price.cost((given, made, 0, 0, 0), time_ns())))

        assert values(sent.before["atm.cost"], "atm.team", "atm.decision") == {
            ("ml", "allowed"): usd_of(11 + 11 + 50, 7 + 7 + 50),
            ("ops", "allowed"): usd_of(33, 21),
            ("ops", "refused"): 0,
        }

    def test_calls_are_counted_with_all_that_they_are_told_apart_by(self, sent: Sent) -> None:
        model = {"gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-5.1"}
        ann = {**model, "atm.app": "bot", "atm.env": "prod", "atm.team": "ml"}
        bob = {**model, "atm.app": "shop", "atm.team": "ops"}
        wanted = [
            ({**ann, "atm.decision": "allowed"}, 3),
            ({**bob, "atm.decision": "allowed"}, 3),
            ({**bob, "atm.decision": "refused"}, 1),
        ]
        points = sent.before["atm.calls"].points
        assert len(points) == len(wanted)
        assert all(point in points for point in wanted)

    def test_calls_whose_tokens_are_estimated_are_counted(self, sent: Sent) -> None:
        assert values(sent.before["atm.call.unmetered"]) == {(): 1}

    def test_budgets_show_their_fullest_payer(self, sent: Sent) -> None:
        def shown(name: str) -> dict[Any, float]:
            return values(sent.before[f"atm.budget.{name}"], "atm.budget.name")

        assert shown("limit") == {(PER_USER,): 1000, ("ops",): 3}
        assert shown("used") == {(PER_USER,): 136, ("ops",): 3}
        assert shown("held") == {(PER_USER,): 100, ("ops",): 0}
        assert shown("utilization") == {(PER_USER,): pytest.approx(0.236), ("ops",): 1}

    def test_budgets_show_how_many_payers_are_in_which_state(self, sent: Sent) -> None:
        assert values(sent.before["atm.budget.scopes"], "atm.budget.name", "state") == {
            (PER_USER, "ok"): 2,
            (PER_USER, "alert"): 0,
            (PER_USER, "exhausted"): 0,
            ("ops", "ok"): 0,
            ("ops", "alert"): 0,
            ("ops", "exhausted"): 1,
        }

    def test_what_waits_for_the_drain_is_shown_until_it_is_drained(self, sent: Sent) -> None:
        assert values(sent.before["atm.spool.bytes"]) == {(): sent.said["spooled"]}
        assert sent.said["spooled"] > 0
        assert 0 < values(sent.before["atm.drain.delay"])[()] < 60
        assert values(sent.after["atm.spool.bytes"]) == {(): 0}
        assert values(sent.after["atm.drain.delay"]) == {(): 0}

    def test_no_user_and_no_session_is_among_their_attributes(self, sent: Sent) -> None:
        metrics = [*sent.before.values(), *sent.after.values()]
        points = [attributes for metric in metrics for attributes, _ in metric.points]
        assert set().union(*points) <= LABELS
        said = {str(value) for attributes in points for value in attributes.values()}
        assert said.isdisjoint({"ann", "bob", "s1", "s2", "finance"})

    def test_events_that_could_not_be_kept_are_counted_by_reason(self, tmp_path: Path) -> None:
        with Receiver() as receiver:
            run_program(
                WITHOUT_A_DISK,
                str(tmp_path / "tokens.duckdb"),
                OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint("http/protobuf"),
                OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            )
        dropped = receiver.exports[0]["atm.events.dropped"]
        assert dropped.unit == "{event}"
        assert values(dropped, "reason") == {("spool_write",): 3}


#: Settings that cannot be used, and what a message about each must quote.
BAD: list[tuple[dict[str, str], list[str]]] = [
    ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/smoke"}, ["OTEL_EXPORTER_OTLP_PROTOCOL", "http/smoke"]),
    (
        {"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "carrier"},
        ["OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "carrier"],
    ),
    ({"OTEL_TRACES_EXPORTER": "pigeon"}, ["OTEL_TRACES_EXPORTER", "pigeon"]),
    ({"OTEL_TRACES_EXPORTER": "otlp, pigeon"}, ["OTEL_TRACES_EXPORTER", "pigeon"]),
    ({"OTEL_METRICS_EXPORTER": "pigeon"}, ["OTEL_METRICS_EXPORTER", "pigeon"]),
    ({"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}, ["soon"]),
    ({"OTEL_EXPORTER_OTLP_COMPRESSION": "shrink"}, ["OTEL_EXPORTER_OTLP_COMPRESSION", "shrink"]),
]


@pytest.fixture(scope="module")
def answers() -> list[tuple[str, str, bool]]:
    """Of each bad setting: the error's type and text, and whether nothing was changed."""
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    environments = [{**endpoint, **environment} for environment, _ in BAD]
    output = run_program(UNDER_EACH, json.dumps(environments))
    return [tuple(json.loads(line)) for line in output.splitlines()]


class TestSettingsThatCannotBeUsed:
    @pytest.mark.parametrize("case", range(len(BAD)), ids=lambda case: str(BAD[case][0]))
    def test_are_an_error_that_quotes_them(
        self, answers: list[tuple[str, str, bool]], case: int
    ) -> None:
        kind, text, _ = answers[case]
        assert kind == "ConfigurationError", text
        assert [quoted for quoted in BAD[case][1] if quoted not in text] == []

    @pytest.mark.parametrize("case", range(len(BAD)), ids=lambda case: str(BAD[case][0]))
    def test_change_nothing(self, answers: list[tuple[str, str, bool]], case: int) -> None:
        assert answers[case][2], "the global tracer provider was replaced"
