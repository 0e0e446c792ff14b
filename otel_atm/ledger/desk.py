"""Desk: where a process talks with the store that it shares with others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import count
from typing import Final

from otel_atm.ledger.cells import SCRATCH, Cells, Remains, recover
from otel_atm.ledger.grants import Answer, Ask
from otel_atm.ledger.lease_store import LeaseStore, LedgerError
from otel_atm.ledger.leased_account import MOST, LeasedAccount, bounded
from otel_atm.ledger.ledger import Crossing
from otel_atm.window import SECOND_NS

#: After a failure the store is left alone for so many seconds; twice as long after each one more.
_FIRST_REST_S: Final = 0.02
_LAST_REST_S: Final = 1.0
#: How many accounts one transaction is about, at most.
_BATCH: Final = 64


class Desk:
    """The accounts of a process that the store knows, their cells, and the messages about them.

    Methods that say so need `lock`, the ledger's: it guards the accounts, and no thread that has it
    waits for the store. `asking` is for whoever asks the store; it is taken first.

    Attributes:
        values: the cells; see `Cells`.
        known: the accounts of the current windows.
        live: accounts that may have something to tell or to give back.
        crossings: alerts that the store has told us to tell.
        turned: claims have to look up their accounts again.
        now_ns: the latest time that anybody has given, since the Unix epoch.
        down_until: when the store may be asked again, after it failed; in seconds.
    """

    def __init__(
        self,
        store: LeaseStore,
        timeout_s: float,
        mono: Callable[[], float],
        note: Callable[[str, BaseException], None],
        known: Callable[[], Iterable[LeasedAccount]],
    ) -> None:
        self.store, self.timeout_s, self.mono = store, timeout_s, mono
        self._note, self.known = note, known
        self._births, self._seqs = count(1), count(1)
        self.now_ns, self._seen_at = 0, mono()
        self.renew()

    def renew(self) -> None:
        """As a process that has asked for nothing yet; a forked child, too."""
        self.lock, self.asking = threading.RLock(), threading.Lock()
        self._burying = threading.Lock()
        self.live: dict[LeasedAccount, None] = {}
        self.crossings: list[Crossing] = []
        self._closed: list[LeasedAccount] = []
        self.cells: Cells | None = None
        self.values = _no_cells()
        self.down_until = self._rest_s = 0.0
        self.turned = False
        self._generation = self.store.generation

    # Accounts; all these need `lock` --------------------------------------------------------------

    def open_cells(self) -> None:
        """Make the cells before a call has to wait for it."""
        try:
            self.cells = self.cells or Cells(self.store.folder)
        except OSError as error:
            self._note("ledger", error)

    def open(self, account: LeasedAccount) -> None:
        """See to it that an account has a cell, and that it is not forgotten.

        Raises:
            LedgerError: it has no cell, since there is no room for it.
        """
        self.live[account] = None
        if account.cell != SCRATCH or account.retired:
            return
        try:
            if self.cells is None:
                self.cells = Cells(self.store.folder)
            account.birth = account.birth or next(self._births)
            spent = bounded(account.spent)
            account.cell = self.cells.name(account.bucket, account.birth, account.epoch, spent)
        except OSError as error:
            raise LedgerError(f"{self.store.folder}: {error.strerror or error}") from error
        self.values = self.cells.values
        account.set_watch()

    def set_spent(self, account: LeasedAccount, spent: int) -> None:
        """Commit so much, for those who survive us, too."""
        account.spent = spent
        self.values[account.cell] = bounded(spent)

    def see(self, now_ns: int) -> None:
        """Somebody has given the time."""
        if now_ns > self.now_ns:
            self.now_ns, self._seen_at = now_ns, self.mono()

    def about_now_ns(self) -> int:
        """What time it may be; nobody decides by it what is admitted where."""
        return self.now_ns + int((self.mono() - self._seen_at) * SECOND_NS)

    def remember(self, account: LeasedAccount) -> None:
        """It has something to tell, once the store can be asked."""
        try:
            self.open(account)
        except LedgerError as error:
            self.fail(error)

    def other_slots(self, accounts: Sequence[LeasedAccount]) -> list[LeasedAccount]:
        """Of rolling windows: what else is live of the same payers, and could be given back."""
        if not any(account.bucket.length_ns for account in accounts):
            return []
        whose = {account.bucket[:2] for account in accounts if account.bucket.length_ns}
        return [each for each in self.live if each.bucket[:2] in whose and each not in accounts]

    def close(self, account: LeasedAccount) -> None:
        """The store knows all of an account of a window that is over."""
        if account.cell != SCRATCH and self.cells is not None:
            try:
                self.cells.free([account.cell])
            except OSError as error:
                self._note("ledger", error)
                return
            account.cell, account.watch = SCRATCH, -1

    def retire(self, accounts: Iterable[LeasedAccount]) -> None:
        """Nobody opens holds on these any more; see `tidy`."""
        self._closed.extend(accounts)

    def tidy(self) -> None:
        """Free the cells of some accounts of windows that are over."""
        for account in self._closed[-1_000:]:
            if account not in self.live:
                self.close(account)
        del self._closed[-1_000:]

    def drop(self, account: LeasedAccount) -> None:
        """An account of an epoch that is over: what is settled there changes nothing."""
        self.live.pop(account, None)
        self.close(account)
        disown([account])
        if not account.is_over:
            account.page.book.forget(account.values)
            self.turned = True

    def everything(self) -> list[LeasedAccount]:
        """Accounts that may have a cell, besides those in books."""
        return [*self.live, *self._closed]

    # Messages; these need `asking` ---------------------------------------------------------------

    @property
    def node(self) -> str:
        """What the store knows this process as."""
        assert self.cells is not None  # no message is about an account without a cell
        return self.cells.node

    def next_seq(self) -> int:
        """The number of a message."""
        return next(self._seqs)

    def rests(self) -> bool:
        """Whether the store has failed just now, and is left alone."""
        return self.mono() < self.down_until

    def send(self, asks: Sequence[Ask], timeout_s: float) -> list[Answer]:
        """Ask the store.

        Raises:
            LedgerError: it could not be asked, or did not answer in time.
        """
        try:
            answers: list[Answer] = []
            for start in range(0, len(asks), _BATCH):
                batch = asks[start : start + _BATCH]
                answers += self.store.step(batch, self.now_ns, timeout_s)
        except LedgerError as error:
            self.fail(error)
            raise
        self.down_until = self._rest_s = 0.0
        return answers

    def fail(self, error: LedgerError) -> None:
        """It cannot be asked now."""
        self._rest_s = min(max(_FIRST_REST_S, 2 * self._rest_s), _LAST_REST_S)
        self.down_until = self.mono() + self._rest_s
        self._note("ledger", error)

    def take(self, letters: Sequence[tuple[LeasedAccount, Ask]], answers: Sequence[Answer]) -> None:
        """What the store has said to each; needs `lock`, too."""
        now = self.mono()
        for (account, ask), answer in zip(letters, answers, strict=True):
            if not answer.stale:
                account.take(ask, answer, now)
                self._take_exemption(account, answer.exempt_ns)
                self.crossings += [Crossing(account.balance(), level) for level in answer.due]
            elif account.told is None:
                self._begin_epoch(account, answer.epoch)
            else:
                self.drop(account)
        self.look_for_loss({account for account, _ in letters})

    def look_for_loss(self, told: Collection[LeasedAccount] = ()) -> None:
        """Tell the store all again if it has lost its records; needs `lock`, too.

        Args:
            told: accounts of which it knows already.
        """
        if self.store.generation == self._generation:
            return
        self._generation = self.store.generation
        for account in {*self.live, *self.known()} - {*told}:
            if account.birth and not account.retired:
                account.revoke()  # nobody knows of its grant any more
                account.told = account.answer = None
                self.live[account] = None

    def _take_exemption(self, account: LeasedAccount, until_ns: int) -> None:
        book = account.page.book
        if not account.is_over and book.exempted.get(account.values, 0) != until_ns:
            book.exempt(account.values, until_ns)
            self.turned = True

    def _begin_epoch(self, account: LeasedAccount, epoch: int) -> None:
        account.epoch = epoch
        if self.cells is not None and account.cell != SCRATCH:
            try:
                self.cells.rename(account.cell, account.bucket, account.birth, epoch)
            except OSError as error:
                self._note("ledger", error)

    # The dead -------------------------------------------------------------------------------------

    def bury(self, timeout_s: float) -> int:
        """Give back what dead processes had not spent; how many there were.

        Raises:
            LedgerError: it is tried again.
        """
        if not self._burying.acquire(blocking=False):
            return 0  # another thread does
        buried = 0
        try:
            for dead in recover(self.store.folder):
                # A call that asks must not find the store in the hands of somebody it cannot see.
                if not self.asking.acquire(timeout=timeout_s):
                    break
                try:
                    self.store.bury(dead.node, dead.remains, self.now_ns, timeout_s)
                finally:
                    self.asking.release()
                for remains in dead.remains:
                    self.store.bell.tell_returned(remains.bucket)
                dead.remove()
                buried += 1
        except (OSError, ValueError) as error:
            raise LedgerError(f"{self.store.folder}: {error}") from error
        finally:
            self._burying.release()
        return buried

    def leave(self, timeout_s: float) -> None:
        """Once all is told and nothing is held: be no process that somebody may have to bury.

        Needs `lock`, too: nobody else may open an account meanwhile.

        Raises:
            LedgerError: the store still knows us.
        """
        if self.cells is None:
            return
        remains = [
            Remains(account.bucket, account.birth, account.epoch, account.spent)
            for account in self.live
            if account.cell != SCRATCH
        ]
        self.store.bury(self.cells.node, remains, self.now_ns, timeout_s)
        cells, self.cells, self.values = self.cells, None, _no_cells()
        disown(self.everything())
        self.live, self._closed = {}, []
        cells.leave()


def disown(accounts: Iterable[object]) -> None:
    """What happens to these is no concern of ours any more."""
    for account in accounts:
        if isinstance(account, LeasedAccount):
            account.cell, account.watch, account.credit, account.retired = SCRATCH, MOST, 0, True


def _no_cells() -> memoryview:
    return memoryview(bytearray(8)).cast("q")
