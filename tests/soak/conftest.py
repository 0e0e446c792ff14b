"""Processes that a server forks, which has imported all that they need: hundreds in a minute."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from tests.store.conftest import assert_roll_ups_add_up, path, query, writer, writers

__all__ = ["path", "writer", "writers"]  # fixtures


@pytest.fixture(scope="session")
def server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.soak.children"])
    return context


@pytest.fixture
def start(server: ForkServerContext) -> Iterator[Callable[..., BaseProcess]]:
    """Starts a function of `tests.soak.children` in a process of its own."""
    started: list[BaseProcess] = []

    def start(function: Callable[..., None], *args: Any) -> BaseProcess:
        process = server.Process(target=function, args=args)
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def acknowledged(files: Iterable[Path]) -> list[str]:
    """The ids of all calls whose end has returned; a last one may be cut off by a kill."""
    return [
        line.strip()
        for file in files
        for line in file.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]


def assert_exactly_once(path: Path, acks: Iterable[str], *, unheard: int) -> None:
    """Each of `acks` is in the file once, and besides them `unheard` rows at most."""
    known = list(acks)
    stored = [row["event_id"] for row in query(path, "select event_id from usage_events")]
    assert len(set(stored)) == len(stored), "doubled"
    assert set(known) - set(stored) == set(), "lost"
    assert len(set(known)) == len(known)
    assert len(stored) - len(known) <= unheard
    assert list(path.with_name(path.name + ".spool").iterdir()) == []
    assert_roll_ups_add_up(path)
