"""Kill -9 at each step of a row's way: what a program was told is kept, is kept, once."""

from __future__ import annotations

import signal
from collections.abc import Callable
from itertools import cycle, islice
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.soak import children
from tests.soak.conftest import acknowledged, assert_exactly_once

TOGETHER = 2
KILLED = (-signal.SIGKILL, -signal.SIGALRM)


@pytest.mark.parametrize(
    "rounds", [len(children.POINTS), pytest.param(200, marks=pytest.mark.soak)]
)
def test_whoever_dies_where_each_call_is_in_the_file_exactly_once(
    start: Callable[..., BaseProcess], tmp_path: Path, rounds: int
) -> None:
    path, acks = tmp_path / "tokens.duckdb", tmp_path / "acks"
    acks.mkdir()
    running: list[tuple[str, BaseProcess]] = []

    def bury() -> None:
        point, process = running.pop(0)
        process.join(60)
        assert process.exitcode in KILLED, f"{point}: {process.exitcode}"

    for number, point in enumerate(islice(cycle(children.POINTS), rounds)):
        arguments = str(path), acks / str(number), number, point
        running.append((point, start(children.be_killed, *arguments)))
        if len(running) == TOGETHER:
            bury()
        if number % 10 == 9:
            print(f"  {number + 1} of {rounds} were killed", flush=True)  # noqa: T201
    while running:
        bury()
    assert_exactly_once(path, acknowledged(acks.iterdir()), unheard=rounds)
