"""Admission: a call that no span covers, from `admit` to `settle`."""

from __future__ import annotations

import asyncio
import threading
import time
from types import TracebackType
from typing import Final

from otel_atm.errors import TokenQuotaExceeded
from otel_atm.gate.call import Call
from otel_atm.gate.gate import Gate
from otel_atm.gate.outcome import status_of
from otel_atm.gate.plan import Plan
from otel_atm.gate.refusal import Decision
from otel_atm.ledger import Claim
from otel_atm.price import Tokens
from otel_atm.usage import MOST_TOKENS, Usage

#: Others' calls, in this process, tell when they end; those of other processes, and windows that
#: begin, are looked for so often.
_LOOK_S: Final = 0.05


class Admission:
    """A call that was let in: settle it with what it used, or release it if it used nothing.

    Leaving the block without either charges what is held, marked as estimated. Made by
    `otel_atm.admit`.

    Args:
        gate: that admits it.
        plan: of its kind.
        claim: what it asks for.
        estimate: what it is charged with if nobody says.
        wait_s: seconds to wait for room, at most; 0: do not wait.
        trace_id: of the span around it; 0 without one.
    """

    __slots__ = ("_call", "_claim", "_estimate", "_gate", "_plan", "_trace_id", "_wait_s")

    def __init__(
        self,
        gate: Gate,
        plan: Plan,
        claim: Claim | None,
        estimate: Tokens,
        wait_s: float,
        trace_id: int,
    ) -> None:
        self._gate, self._plan, self._claim, self._estimate = gate, plan, claim, estimate
        self._wait_s, self._trace_id = wait_s, trace_id
        self._call: Call | None = None

    @property
    def call_id(self) -> str:
        """The id of its row in `usage_events`."""
        return self._admitted.id

    @property
    def decision(self) -> Decision:
        """What was decided, and how the budget stands that decided it."""
        return self._gate.decision(self._admitted)

    def settle(
        self,
        usage: Usage | None = None,
        *,
        input_tokens: int = 0,
        output_tokens: int = 0,
        cache_read_tokens: int = 0,
        cache_write_tokens: int = 0,
        reasoning_tokens: int = 0,
    ) -> None:
        """Charge what the call used; a second time changes nothing.

        Args:
            usage: all of it at once; or the numbers below, as of `otel_atm.Usage`.
            input_tokens: with what was read from and written to a cache.
            output_tokens: with reasoning.
            cache_read_tokens: part of the input.
            cache_write_tokens: part of the input.
            reasoning_tokens: part of the output.

        Raises:
            ValueError: for a number that is negative, no integer, or more than any call has;
                nothing is settled then.
        """
        call = self._call or self._admitted
        if usage is not None:
            self._gate.settle(call, _tokens_of(usage), estimated=usage.estimated)
            return
        tokens = (
            input_tokens,
            output_tokens,
            cache_read_tokens,
            cache_write_tokens,
            reasoning_tokens,
        )
        for count in tokens:
            if type(count) is not int or not 0 <= count < MOST_TOKENS:
                Usage(*tokens)  # says which one
        self._gate.settle(call, tokens)

    def release(self) -> None:
        """Give everything back: the call used nothing."""
        self._gate.release(self._admitted, "ok")

    def amend(self, *, input_tokens: int, output_tokens: int) -> None:
        """Hold other amounts from now on, e.g. since the request is known by now.

        Raises:
            TokenQuotaExceeded: there is no room for that; what was held before is still held.
            ValueError: for a number that is negative, no integer, or more than any call has.
        """
        Usage(input_tokens, output_tokens)
        refusal = self._gate.amend(self._admitted, (input_tokens, output_tokens, 0, 0, 0))
        if refusal is not None:
            raise refusal

    def touch(self) -> None:
        """The call goes on: its 15 minutes, after which it is written off, start again."""
        self._gate.touch(self._admitted)

    def __enter__(self) -> Admission:
        self._check_fresh()
        call = self._gate.open(self._plan, self._claim, self._estimate, self._trace_id)
        if call.refusal is None:
            self._call = call
            return self
        return self._enter(self._wait() if self._wait_s > 0 else call)

    async def __aenter__(self) -> Admission:
        self._check_fresh()
        call = self._open()
        if call.refusal is not None and self._wait_s > 0:
            call = await self._wait_async()
        return self._enter(call)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        call = self._call
        if call is None or not call.open:
            return
        if kind is None:
            self._gate.settle(call, None)
        else:
            self._gate.settle(call, None, status_of(kind), kind.__qualname__)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)

    @property
    def _admitted(self) -> Call:
        if self._call is None:
            raise RuntimeError("the call is admitted where its block begins: with admit(...) as …")
        return self._call

    def _check_fresh(self) -> None:
        if self._call is not None:
            raise RuntimeError("a call is admitted once: make another admit(...)")

    def _open(self) -> Call:
        return self._gate.open(self._plan, self._claim, self._estimate, self._trace_id)

    def _enter(self, call: Call) -> Admission:
        if call.refusal is not None:
            self._gate.refuse(call, call.refusal)
            raise call.refusal
        self._call = call
        return self

    def _wait(self) -> Call:
        """Ask again each time another call ends."""
        deadline, woken = time.monotonic() + self._wait_s, threading.Event()
        while True:
            woken.clear()
            self._gate.waiters.join(woken.set)
            try:
                call = self._open()
                left = deadline - time.monotonic()
                if not _may_fit(call.refusal) or left <= 0:
                    return call
                woken.wait(min(left, _LOOK_S))
            finally:
                self._gate.waiters.leave(woken.set)

    async def _wait_async(self) -> Call:
        """As `_wait`, without blocking the loop."""
        deadline, woken = time.monotonic() + self._wait_s, asyncio.Event()
        loop = asyncio.get_running_loop()

        def tell() -> None:
            loop.call_soon_threadsafe(woken.set)

        while True:
            woken.clear()
            self._gate.waiters.join(tell)
            try:
                call = self._open()
                left = deadline - time.monotonic()
                if not _may_fit(call.refusal) or left <= 0:
                    return call
                try:
                    await asyncio.wait_for(woken.wait(), min(left, _LOOK_S))
                except TimeoutError:
                    continue  # and look
            finally:
                self._gate.waiters.leave(tell)


def _tokens_of(usage: Usage) -> Tokens:
    return (
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
    )


def _may_fit(refusal: TokenQuotaExceeded | None) -> bool:
    """Whether a call that was refused may fit as soon as others end, or a window begins."""
    return refusal is not None and (refusal.retry_after_s is not None or refusal.held > 0)
