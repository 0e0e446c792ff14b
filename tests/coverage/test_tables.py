"""The tables agree with each other, with the guards and with what is installed here."""

from __future__ import annotations

from collections import Counter
from importlib import import_module
from urllib.parse import urlsplit

import pytest
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from otel_atm.coverage.clients import BY_NAME, CLIENTS, LOCAL, TRANSPORTS, Client
from otel_atm.coverage.instrumentations import (
    INSTRUMENTATIONS,
    NATIVE_ANTHROPIC,
    Instrumentation,
)
from otel_atm.coverage.loaded import packages
from otel_atm.coverage.scene import installed
from otel_atm.guards.endpoints import find_endpoint
from otel_atm.guards.hosts import EVERYBODYS
from otel_atm.guards.install import _SEAMS, seams

EVERY = [*INSTRUMENTATIONS, NATIVE_ANTHROPIC]


def test_every_name_is_there_once() -> None:
    names = Counter([*BY_NAME, *LOCAL, *(each.name for each in EVERY)])
    assert len(BY_NAME) == len(CLIENTS)
    assert [name for name, number in names.items() if number > 1] == []


def test_every_package_that_is_guarded_is_a_transport_or_a_client() -> None:
    assert seams() == frozenset(_SEAMS)
    modules = {module for module, _ in TRANSPORTS.values()}
    clients = {client.module.partition(".")[0] for client in CLIENTS}
    assert packages(_SEAMS) - modules - clients == set()


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_a_client_sends_with_transports_or_over_other_clients(client: Client) -> None:
    used = [name for names in client.transports.values() for name in names]
    assert set(used) | set(client.optional) <= TRANSPORTS.keys()
    assert set(client.over) <= BY_NAME.keys()
    assert bool(used) != bool(client.over)
    if used:
        assert client.sends_with(0)
    for name in client.over:
        assert not BY_NAME[name].over, "one step is enough"


@pytest.mark.parametrize(
    "url", [url for client in CLIENTS for url in client.posts], ids=lambda url: url
)
def test_guards_know_what_a_client_posts(url: str) -> None:
    parts = urlsplit(url)
    endpoint = find_endpoint(parts.path)
    assert endpoint is not None
    assert endpoint.anywhere or EVERYBODYS.provider(parts.netloc)


@pytest.mark.parametrize(
    "client",
    [
        client
        for client in CLIENTS
        if {"httpx", "httpx2"} & {name for names in client.transports.values() for name in names}
    ],
    ids=lambda client: client.name,
)
def test_what_a_client_posts_through_a_guard_is_named(client: Client) -> None:
    assert client.posts


@pytest.mark.parametrize("each", EVERY, ids=lambda each: each.name)
def test_only_what_is_not_enforced_says_why(each: Instrumentation) -> None:
    assert bool(each.why) == (each.state != "enforced")
    assert set(each.clients) | set(each.broken_from) <= BY_NAME.keys()


def test_switches_of_what_is_installed_here_are_instrumentors() -> None:
    here = [each for each in INSTRUMENTATIONS if each.name in installed()]
    there = [each for each in here if ":" in each.switch]  # others are no instrumentors
    assert there
    for each in there:
        module, _, name = each.switch.partition(":")
        found = getattr(import_module(module), name)
        assert issubclass(found, BaseInstrumentor)
