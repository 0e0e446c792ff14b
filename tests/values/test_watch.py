from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from threading import enumerate as threads
from types import SimpleNamespace
from typing import Any

import pytest

from otel_atm.trouble import Trouble
from otel_atm.watch import FileWatch


class Disk:
    """A file that a test changes by hand; None when it is missing."""

    def __init__(self) -> None:
        self.file: dict[str, int] | None = {
            "st_mtime_ns": 1,
            "st_ctime_ns": 1,
            "st_size": 10,
            "st_ino": 7,
        }

    def stat(self, path: Any) -> Any:
        if self.file is None:
            raise FileNotFoundError(path)
        return SimpleNamespace(**self.file)

    def change(self, **fields: int) -> None:
        assert self.file is not None
        self.file |= fields


@pytest.fixture
def disk() -> Disk:
    return Disk()


class Calls:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def calls() -> Calls:
    return Calls()


def test_a_file_that_stays_as_it_is_is_no_change(disk: Disk, calls: Calls) -> None:
    watch = FileWatch("b.yaml", calls, stat=disk.stat)
    assert ([watch.check(), watch.check()], calls.count) == ([False, False], 0)


@pytest.mark.parametrize("field", ["st_mtime_ns", "st_ctime_ns", "st_size", "st_ino"])
def test_a_change_is_told_once(disk: Disk, calls: Calls, field: str) -> None:
    watch = FileWatch("b.yaml", calls, stat=disk.stat)
    disk.change(**{field: 99})
    assert ([watch.check(), watch.check()], calls.count) == ([True, False], 1)


def test_a_file_that_is_gone_is_told_when_it_is_back(disk: Disk, calls: Calls) -> None:
    watch, file = FileWatch("b.yaml", calls, stat=disk.stat), disk.file
    disk.file = None
    gone = watch.check()
    disk.file = file
    assert (gone, watch.check(), calls.count) == (False, True, 1)


def test_a_file_may_be_made_later(disk: Disk, calls: Calls) -> None:
    file, disk.file = disk.file, None
    watch = FileWatch("b.yaml", calls, stat=disk.stat)
    missing = watch.check()
    disk.file = file
    assert (missing, watch.check(), calls.count) == (False, True, 1)


def test_that_it_is_gone_is_told_once_and_again_when_it_was_back(disk: Disk, calls: Calls) -> None:
    reasons: list[OSError] = []
    watch, file = FileWatch("b.yaml", calls, on_gone=reasons.append, stat=disk.stat), disk.file
    for there in (None, None, file, file, None, None):
        disk.file = there
        watch.check()
    assert [type(reason) for reason in reasons] == [FileNotFoundError] * 2
    assert calls.count == 1


def test_one_that_is_missing_from_the_start_is_gone(disk: Disk, calls: Calls) -> None:
    """E.g. since it was deleted after it was read, and before the watch was made."""
    disk.file, reasons = None, list[OSError]()
    watch = FileWatch("b.yaml", calls, on_gone=reasons.append, stat=disk.stat)
    assert ([watch.check(), watch.check()], calls.count, len(reasons)) == ([False, False], 0, 1)


def test_a_change_during_a_change_is_told_next_time(disk: Disk) -> None:
    seen = []

    def on_change() -> None:
        seen.append(disk.file)
        disk.change(st_size=len(seen) * 100 if len(seen) < 2 else 100)

    watch = FileWatch("b.yaml", on_change, stat=disk.stat)
    disk.change(st_size=5)
    assert [watch.check() for _ in range(3)] == [True, True, False]


def test_real_files_are_noticed_when_they_are_written_or_replaced(
    tmp_path: Path, calls: Calls
) -> None:
    file, other = tmp_path / "b.yaml", tmp_path / "b.new"
    file.write_text("a")
    watch = FileWatch(file, calls)
    file.write_text("longer")
    written = watch.check()
    other.write_text("nothing")
    other.replace(file)
    replaced = watch.check()
    file.unlink()
    assert (written, replaced, watch.check(), calls.count) == (True, True, False, 2)


class TestThread:
    """Each waits for an event that the thread sets; none waits for time to pass."""

    def watched(self, disk: Disk, on_change: Callable[[], None], **more: Any) -> FileWatch:
        return FileWatch("b.yaml", on_change, stat=disk.stat, interval_s=0.001, **more)

    def test_checks_until_it_is_stopped(self, disk: Disk) -> None:
        told = Event()
        watch = self.watched(disk, told.set)
        watch.start()
        watch.start()  # is one thread all the same
        assert len(running()) == 1
        disk.change(st_size=5)
        assert told.wait(30)
        watch.stop()
        watch.stop()
        assert running() == []

    def test_can_be_started_again(self, disk: Disk) -> None:
        told = Event()
        watch = self.watched(disk, told.set)
        watch.start()
        watch.stop()
        watch.start()
        disk.change(st_size=5)
        assert told.wait(30)
        watch.stop()

    def test_may_be_stopped_by_what_it_calls(self, disk: Disk) -> None:
        told = Event()

        def on_change() -> None:
            watch.stop()
            told.set()

        watch = self.watched(disk, on_change)
        watch.start()
        (thread,) = running()
        disk.change(st_size=5)
        assert told.wait(30)
        thread.join(30)
        assert not thread.is_alive()

    def test_goes_on_when_what_it_calls_fails(self, disk: Disk) -> None:
        told, trouble = Event(), Trouble()

        def on_change() -> None:
            if disk.file == {**Disk().file, "st_size": 5}:  # type: ignore[dict-item]
                disk.change(st_size=6)
                raise RuntimeError
            told.set()

        watch = self.watched(disk, on_change, trouble=trouble)
        watch.start()
        disk.change(st_size=5)
        assert told.wait(30)
        watch.stop()
        assert trouble.counts == {"watch": 1}

    def test_does_not_keep_a_program_alive(self, disk: Disk) -> None:
        watch = self.watched(disk, lambda: None)
        watch.start()
        assert [thread.daemon for thread in running()] == [True]
        watch.stop()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    def test_is_made_anew_in_a_child(self, disk: Disk) -> None:
        told = Event()
        watch = self.watched(disk, told.set)
        watch.start()
        child = os.fork()
        if not child:
            try:
                watch.after_fork()
                disk.change(st_size=5)
                os._exit(0 if told.wait(30) else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        watch.stop()

    def test_is_not_made_in_a_child_if_it_was_not_there(self, disk: Disk) -> None:
        watch = self.watched(disk, lambda: None)
        watch.after_fork()
        assert running() == []


def running() -> list[Thread]:
    return [thread for thread in threads() if thread.name == "otel-atm-watch"]
