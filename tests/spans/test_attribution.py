from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import baggage
from opentelemetry.context import attach, detach
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from otel_atm import ConfigurationError, context
from tests.conftest import CHAT, USED, Metered


@contextmanager
def received(**entries: str) -> Any:
    """Baggage, as an inbound header brings it."""
    current = None
    for key, value in entries.items():
        current = baggage.set_baggage(key, value, current)
    token = attach(current) if current is not None else None
    try:
        yield
    finally:
        if token is not None:
            detach(token)


def who(bench: Metered) -> dict[str, Any]:
    """Who paid for the last call: the columns and attributes of its row that say so."""
    row = bench.rows[-1]
    columns = {
        "service": row.service,
        "app": row.app,
        "env": row.env,
        "team": row.team,
        "user": row.user_id,
        "session": row.session_id,
        **row.attributes,
    }
    return {key: value for key, value in columns.items() if value is not None}


def test_nobody_is_named_where_nobody_says_anything(bench: Metered) -> None:
    bench.call()
    assert who(bench) == {}


def test_a_resource_names_service_and_environment_and_the_service_is_the_app(
    metered: Callable[..., Metered],
) -> None:
    bench = metered(resource={"service.name": "api", "deployment.environment.name": "prod"})
    bench.call()
    assert who(bench) == {"service": "api", "app": "api", "env": "prod"}


def test_an_older_name_of_the_environment_will_do_and_the_newer_one_wins(
    metered: Callable[..., Metered],
) -> None:
    bench = metered(resource={"deployment.environment": "old"})
    bench.call()
    assert who(bench) == {"env": "old"}
    resource = {"deployment.environment.name": "new", "deployment.environment": "old"}
    bench = metered(resource=resource)
    bench.call()
    assert who(bench) == {"env": "new"}


@pytest.mark.parametrize("name", ["unknown_service", "unknown_service:python"])
def test_a_service_that_nobody_named_is_none(metered: Callable[..., Metered], name: str) -> None:
    bench = metered(resource={"service.name": name, "deployment.environment.name": "prod"})
    bench.call()
    assert who(bench) == {"env": "prod"}


@pytest.mark.parametrize(
    ("attributes", "payer"),
    [
        ({"user.id": "ann"}, {"user": "ann"}),
        ({"enduser.id": "ann"}, {"user": "ann"}),
        ({"user.id": "new", "enduser.id": "old"}, {"user": "new"}),
        ({"session.id": "s1"}, {"session": "s1"}),
        ({"gen_ai.conversation.id": "c1"}, {"session": "c1"}),
        ({"session.id": "s1", "gen_ai.conversation.id": "c1"}, {"session": "s1"}),
        ({"gen_ai.agent.name": "planner"}, {"agent": "planner"}),
        ({"user.id": 7}, {"user": "7"}),
        ({"user.id": ""}, {}),
        ({"user.name": "ann"}, {}),
    ],
)
def test_attributes_of_a_span_name_user_session_and_agent(
    bench: Metered, attributes: Mapping[str, Any], payer: dict[str, str]
) -> None:
    bench.call(**attributes)
    assert who(bench) == payer


def test_a_context_names_anybody(bench: Metered) -> None:
    with context(user="ann", team="ml", department="finance", tags=["prod"]):
        bench.call()
    assert who(bench) == {"user": "ann", "team": "ml", "department": "finance"}
    assert bench.rows[-1].tags == ("prod",)


def test_baggage_names_nobody_unless_its_key_is_listed(metered: Callable[..., Metered]) -> None:
    bench = metered(baggage_keys=["team"])
    with received(user="mallory", team="ml", app="bot"):
        bench.call()
    assert who(bench) == {"team": "ml"}


def test_baggage_that_is_not_there_names_nobody(metered: Callable[..., Metered]) -> None:
    bench = metered(baggage_keys=["team", "user"])
    with received(user="ann"):
        bench.call()
    bench.call()
    assert [row.user_id for row in bench.rows] == ["ann", None]


def test_the_baggage_of_a_spans_own_parent_counts(metered: Callable[..., Metered]) -> None:
    bench = metered(baggage_keys=["user"])
    explicit = baggage.set_baggage("user", "ann")
    span = bench.tracer().start_span("chat", explicit, attributes=CHAT)
    bench.end(span, USED)
    assert who(bench) == {"user": "ann"}


@pytest.mark.parametrize("keys", ["user", ["model"], ["provider"], ["tags"]])
def test_baggage_keys_that_can_name_nobody_are_refused_at_once(
    metered: Callable[..., Metered], keys: Any
) -> None:
    with pytest.raises(ConfigurationError):
        metered(baggage_keys=keys)


LEVELS = ("resource", "baggage", "span", "context")


@pytest.mark.parametrize("highest", LEVELS)
def test_context_goes_before_span_before_baggage_before_resource(
    metered: Callable[..., Metered], highest: str
) -> None:
    said = LEVELS[: LEVELS.index(highest) + 1]
    bench = metered(
        resource={"service.name": "resource"}, baggage_keys=["user", "service", "session"]
    )
    entries = dict.fromkeys(("user", "service", "session"), "baggage")
    own = {"user.id": "span", "session.id": "span"}
    keys = dict.fromkeys(("user", "service", "session"), "context")
    with (
        received(**(entries if "baggage" in said else {})),
        context(**(keys if "context" in said else {})),
    ):
        bench.call(**(own if "span" in said else {}))
    assert (
        who(bench)
        == {
            "resource": {"service": "resource", "app": "resource"},
            "baggage": {**entries, "app": "resource"},
            "span": {"user": "span", "session": "span", "service": "baggage", "app": "resource"},
            "context": {**keys, "app": "resource"},
        }[highest]
    )


def test_each_level_adds_what_the_others_leave_open(metered: Callable[..., Metered]) -> None:
    bench = metered(resource={"deployment.environment.name": "prod"}, baggage_keys=["team"])
    with received(team="ml"), context(app="bot"):
        bench.call(**{"user.id": "ann"})
    assert who(bench) == {"env": "prod", "team": "ml", "user": "ann", "app": "bot"}


def test_payers_in_turn_are_not_mixed_up(bench: Metered) -> None:
    for user, model in [("ann", "a"), ("bob", "a"), ("ann", "b"), ("ann", "a"), (None, "a")]:
        with context(user=user):
            bench.call(**{"gen_ai.request.model": model})
    assert [(row.user_id, row.model) for row in bench.rows] == [
        ("ann", "a"),
        ("bob", "a"),
        ("ann", "b"),
        ("ann", "a"),
        (None, "a"),
    ]


def test_a_payer_with_more_models_than_are_remembered_is_still_metered(bench: Metered) -> None:
    models = [f"model{number}" for number in range(300)]
    with context(user="ann"):
        for model in models * 2:
            bench.call(**{"gen_ai.request.model": model})
    assert [row.model for row in bench.rows] == models * 2


def test_providers_with_other_resources_may_share_a_processor(bench: Metered) -> None:
    tracers = []
    for name in ("api", "worker"):
        resource = Resource({"service.name": name})
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(bench.processor)
        tracers.append(provider.get_tracer("openai"))
    with context(user="ann"):
        for tracer in tracers * 3:
            bench.end(tracer.start_span("chat", attributes=CHAT), USED)
    assert [row.service for row in bench.rows] == ["api", "worker"] * 3


def test_the_span_says_who_pays(bench: Metered) -> None:
    with context(user="ann", team="ml", department="finance", tags=["b", "a"]):
        bench.call()
    (span,) = bench.exported
    own = {key: value for key, value in (span.attributes or {}).items() if key.startswith("atm.")}
    assert own == {
        "atm.user": "ann",
        "atm.team": "ml",
        "atm.department": "finance",
        "atm.tags": ("a", "b"),
        "atm.decision": "allowed",
        "atm.call_id": bench.rows[0].event_id,
    }


def test_keys_of_ones_own_do_not_replace_what_we_say(bench: Metered) -> None:
    with context(decision="mine", call_id="mine"):
        bench.call()
    (span,) = bench.exported
    said = {key: (span.attributes or {})[key] for key in ("atm.decision", "atm.call_id")}
    assert said == {"atm.decision": "allowed", "atm.call_id": bench.rows[0].event_id}


def test_threads_each_bill_their_own_payer(bench: Metered) -> None:
    def work(user: str) -> None:
        for _ in range(50):
            with context(user=user):
                bench.call()

    threads = [threading.Thread(target=work, args=(f"user{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    users = sorted(str(row.user_id) for row in bench.rows)
    assert users == sorted(f"user{number}" for number in range(8) for _ in range(50))
