"""Following a file of budgets while a program runs, and saying what becomes of it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial

from otel_atm.budget_file import lets_go_on, says_stop
from otel_atm.errors import AtmError
from otel_atm.trouble import Trouble, logger
from otel_atm.watch import FileWatch


class BudgetFiles:
    """The file that budgets come from, and those of before that stop all calls.

    Args:
        take: puts into force what a file says now: see `BudgetWatch`.
        stop: as of `BudgetWatch`.
        tell: as of `LastingStops`.
        trouble: as of `BudgetWatch`.
    """

    def __init__(
        self,
        take: Callable[[str], int],
        stop: Callable[[], None],
        tell: Callable[[], None],
        trouble: Trouble,
    ) -> None:
        self._take, self._stop, self._trouble = take, stop, trouble
        self._now: BudgetWatch | None = None
        self._before = LastingStops(tell, trouble)

    def follow(self, path: str | None, *, stopped: bool = False) -> None:
        """Follow another file, or none.

        Args:
            path: of the file.
            stopped: whether the one of before stops all calls.
        """
        before, self._now = self._now, None
        if before is not None:
            before.stop()
            if stopped:
                self._before.keep(os.fspath(before.path))
        if path is not None:
            self._before.end(path)  # it speaks for itself again
            self._now = BudgetWatch(path, partial(self._take, path), self._stop, self._trouble)
            self._now.start()

    @property
    def stopped(self) -> bool:
        """Whether a file of before stops all calls."""
        return bool(self._before.watches)

    @property
    def watches(self) -> list[FileWatch]:
        """Of all files that are followed."""
        return [*self._before.watches.values(), *([] if self._now is None else [self._now])]


class BudgetWatch(FileWatch):
    """Has a file of budgets read again when it changes; until it can be, all stays as it was.

    Args:
        path: of the file.
        take: puts into force what the file says now; how many budgets that are. An AtmError: it
            cannot be used, and nothing was changed.
        stop: called when a file that cannot be used stops all calls nevertheless.
        trouble: counts, as "budget_file", how often it could not be used.
    """

    def __init__(
        self, path: str, take: Callable[[], int], stop: Callable[[], None], trouble: Trouble
    ) -> None:
        super().__init__(path, self._reread, on_gone=self._lose, trouble=trouble)
        self._take, self._stop, self._count = take, stop, trouble.count
        self._unusable = False  # and that was said

    def _reread(self) -> None:
        try:
            budgets = self._take()
        except AtmError as error:
            self._say_unusable(
                "was changed, and cannot be used; the budgets stay as they were:\n%s", error
            )
            if says_stop(self.path):  # the kill switch works also in a file with mistakes
                self._stop()
            return
        # Who was told that it cannot be used is told, as loudly, that it can.
        level = logging.WARNING if self._unusable else logging.INFO
        how, self._unusable = "can be used again" if self._unusable else "was changed", False
        logger.log(level, "otel-atm: %s %s: %d budgets", self.path, how, budgets)

    def _lose(self, error: OSError) -> None:
        reason = error.strerror or type(error).__name__
        self._say_unusable("cannot be read; the budgets stay as they were: %s", reason)

    def _say_unusable(self, what: str, why: object) -> None:
        logger.error(f"otel-atm: %s {what}", self.path, why)
        self._unusable = True
        self._count("budget_file")


class LastingStops:
    """Files from which the budgets no longer come, and which stop all calls nevertheless.

    Whoever stopped them there has to be the one who lets them go on, and not a program that takes
    other budgets.

    Args:
        tell: called when one of them stops calls no longer.
        trouble: as of `FileWatch`.

    Attributes:
        watches: path → what waits until the file lets calls go on.
    """

    def __init__(self, tell: Callable[[], None], trouble: Trouble) -> None:
        self.watches: dict[str, FileWatch] = {}
        self._tell, self._trouble = tell, trouble

    def keep(self, path: str) -> None:
        """Have a file that stops all calls go on to do so."""
        watch = FileWatch(path, partial(self._reread, path), trouble=self._trouble)
        self.watches[path] = watch
        watch.start()
        logger.warning(
            "otel-atm: %s stops all calls until `stop: true` is taken out of it, "
            "though budgets come from elsewhere now",
            path,
        )

    def end(self, path: str) -> None:
        """Forget what a file says, if it was kept."""
        if (watch := self.watches.pop(path, None)) is not None:
            watch.stop()
            self._tell()

    def _reread(self, path: str) -> None:
        if lets_go_on(path):
            logger.warning("otel-atm: %s stops calls no longer", path)
            self.end(path)
