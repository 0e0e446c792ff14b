"""What of a spool cannot be read is told of, by name and reason, and hides nothing else."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import time_ns

import pytest
from click.testing import CliRunner

import otel_atm as atm
from otel_atm.cli import main
from otel_atm.store.drain import drain
from otel_atm.store.points import put_points
from otel_atm.store.unread import Unread, UnreadError
from otel_atm.testing import ManualClock
from tests.store.conftest import Writer, ids_of, query

COUNT = "select count(*) from usage_events"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


def a_file(path: Path) -> None:
    path.write_text("in the way")


def a_link_to_nothing(path: Path) -> None:
    path.symlink_to("nowhere")


def a_circle_of_links(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.fixture(
    params=[
        (a_file, "Not a directory"),
        (a_link_to_nothing, "No such file or directory"),
        (a_circle_of_links, "Too many levels of symbolic links"),
    ],
    ids=lambda param: param[0].__name__,
)
def said(request: pytest.FixtureRequest, writer: Writer) -> str:
    """What is to be said of a store of three rows, in place of whose spool something else lies."""
    for _ in range(3):
        writer.call(user="ann")
    writer.drain()
    writer.paths.spool.rmdir()
    put: Callable[[Path], None]
    put, reason = request.param
    put(writer.paths.spool)
    return f"{writer.paths.spool}: {reason}"


class TestASpoolThatIsNoFolder:
    def test_is_told_of_by_a_reader_which_answers_with_what_it_has(
        self, writer: Writer, said: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with atm.connect(writer.paths.database) as db:
            assert [db.sql(COUNT).fetchall() for _ in range(2)] == [[(3,)], [(3,)]]
            assert db.stale_s > 0
        (warning,) = warnings(caplog)
        assert warning.startswith("otel-atm: answering without the newest events")
        assert warning.endswith(said)

    def test_is_told_of_again_when_it_was_mended_in_between(
        self, writer: Writer, said: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        spool, kept = writer.paths.spool, writer.paths.spool.with_name("kept")
        with atm.connect(writer.paths.database) as db:
            db.sql(COUNT)
            spool.rename(kept)
            db.sql(COUNT)
            assert db.stale_s == 0.0
            kept.rename(spool)
            db.sql(COUNT)
        assert len(warnings(caplog)) == 2

    def test_is_told_of_once_by_report_on_stderr(self, writer: Writer, said: str) -> None:
        found = subprocess.run(
            [sys.executable, "-m", "otel_atm", "report", "--json", "--db", writer.paths.database],
            capture_output=True,
            text=True,
        )
        assert found.returncode == 0
        assert json.loads(found.stdout)["totals"]["calls"] == 3
        assert found.stderr.count(said) == 1

    def test_makes_drain_fail(self, writer: Writer, said: str) -> None:
        found = CliRunner().invoke(main, ["drain", "--db", str(writer.paths.database)])
        assert (found.exit_code, found.stdout) == (1, "")
        assert found.stderr == f"Error: {said}\n"

    def test_is_told_of_by_the_program_that_keeps_the_rows(
        self, writer: Writer, said: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = atm.Store(writer.paths.database)
        assert not store.flush()
        assert not store.flush()
        (warning,) = warnings(caplog)
        assert said in warning


@pytest.fixture
def partly(writer: Writer) -> list[str]:
    """A spool of which four files cannot be read: before and after a segment and after points."""
    spool = writer.paths.spool
    writer.call(user="ann")
    writer.spool.seal()
    put_points(spool, b"")
    for name in ("0.segment", "9.points"):
        (spool / name).mkdir()
    (spool / "9.segment").symlink_to("nowhere.segment")
    (spool / "0.points").symlink_to("0.points")
    reasons = {
        "0.points": "Too many levels of symbolic links",
        "0.segment": "Is a directory",
        "9.points": "Is a directory",
        "9.segment": "No such file or directory",
    }
    return [f"{spool / name}: {reason}" for name, reason in reasons.items()]


def drain_all_but_unread(writer: Writer) -> int:
    with pytest.raises(UnreadError) as caught:
        drain(writer.paths)
    return caught.value.rows


class TestFilesThatCannotBeRead:
    def test_hold_no_others_up(self, writer: Writer, partly: list[str]) -> None:
        with pytest.raises(UnreadError) as caught:
            drain(writer.paths)
        assert (caught.value.rows, caught.value.files) == (1, partly)
        assert str(caught.value) == (
            f"4 files of {writer.paths.spool} cannot be read, and what they hold is missing: "
            "0.points: Too many levels of symbolic links; 0.segment: Is a directory; "
            "9.points: Is a directory; and 1 more"
        )
        left = sorted(path.name for path in writer.paths.spool.iterdir())
        assert left == ["0.points", "0.segment", "9.points", "9.segment"]

    def test_are_told_of_by_a_reader_which_has_all_other_rows(
        self, writer: Writer, partly: list[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        assert ids_of(writer.paths.database) == [event.event_id for event in writer.events]
        (warning,) = warnings(caplog)
        assert "0.segment: Is a directory" in warning

    def test_are_told_of_by_drain_after_it_took_in_the_others(
        self, writer: Writer, partly: list[str]
    ) -> None:
        found = CliRunner().invoke(main, ["drain", "--json", "--db", str(writer.paths.database)])
        assert found.exit_code == 1
        said = json.loads(found.stdout)
        assert (said["rows"], said["unread"]) == (1, partly)
        assert "4 files of" in found.stderr

    def test_do_not_keep_what_is_old_from_being_deleted(
        self, writer: Writer, partly: list[str], clock: ManualClock
    ) -> None:
        assert drain_all_but_unread(writer) == 1
        assert clock() < time_ns() - 7 * 86_400 * 10**9
        store = atm.Store(writer.paths.database, keep_events="7 days")
        assert not store.flush()  # since files are left
        assert query(writer.paths.database, COUNT) == [{"count_star()": 0}]

    def test_alone_leave_an_empty_store_that_can_be_asked(
        self, writer: Writer, caplog: pytest.LogCaptureFixture
    ) -> None:
        (writer.paths.spool / "0.segment").mkdir(parents=True)
        assert query(writer.paths.database, COUNT) == [{"count_star()": 0}]
        assert len(warnings(caplog)) == 1


def test_a_file_that_is_gone_is_nothing_to_tell_of(tmp_path: Path) -> None:
    """Its process ended it, since nothing was in it, or another drain took it in."""
    unread = Unread()
    assert not unread.can_read(tmp_path / "0.segment")
    unread.check(tmp_path, 0)
