"""The middleware: each request of an agent to its model is counted, and refused over the quota."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from agent_framework import ChatContext, ChatMiddleware, ResponseStream

from otel_atm.guards.agent_framework import records, settings
from otel_atm.guards.agent_framework.calls import Call
from otel_atm.guards.agent_framework.learned import Learned
from otel_atm.guards.agent_framework.periods import PeriodKeyFn, key_at, month_key, window_of
from otel_atm.guards.agent_framework.quota import Quota, Unasked
from otel_atm.guards.agent_framework.requests import (
    ANONYMOUS,
    default_user_id_getter,
    input_of,
    model_of,
    most_output,
)
from otel_atm.guards.agent_framework.stores import Full, QuotaStore
from otel_atm.guards.agent_framework.streams import StreamWatch, in_this_loop
from otel_atm.guards.agent_framework.tellers import Told, UsageCallback, settled, tell
from otel_atm.trouble import Trouble


class TokenGuardMiddleware(ChatMiddleware):
    """Counts what each request of an agent uses, and refuses those that do not fit the quota.

    What a request will probably use is held from the check until the answer is there. One guard
    serves any number of agents, tasks, threads and event loops.

    Args:
        on_usage: called with the record of each request that has used something; may be async.
        quota_store: that keeps the count. One that is no `HoldingQuotaStore` has its holds in this
            guard: let all that use it share the guard.
        quota_tokens: the most that a user may use in a period, at least 0.
        user_id_getter: tells whose a request is; may be async.
        period_key_fn: tells the key of the current period; may be async.
        on_quota_exceeded: called with the reason before a request is refused; may be async.
        default_hold: tokens to hold for a request before 16 of its model have been seen: at least
            half of it for the input, at most half of it for the output.
        on_store_error: what becomes of requests while the store fails: "allow" or "block".
        clock: nanoseconds since the Unix epoch.

    Attributes:
        trouble: counts what has failed, by a short word.

    Raises:
        ConfigurationError: for a setting that cannot be used; it quotes it.
    """

    def __init__(
        self,
        *,
        on_usage: UsageCallback,
        quota_store: QuotaStore,
        quota_tokens: int,
        user_id_getter: Callable[[ChatContext], Any] = default_user_id_getter,
        period_key_fn: PeriodKeyFn = month_key,
        on_quota_exceeded: UsageCallback | None = None,
        default_hold: int = 1000,
        on_store_error: str = "allow",
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        settings.check_callables(
            on_usage=on_usage, user_id_getter=user_id_getter, period_key_fn=period_key_fn
        )
        if on_quota_exceeded is not None:
            settings.check_callables(on_quota_exceeded=on_quota_exceeded)
        self.on_usage, self.on_quota_exceeded = on_usage, on_quota_exceeded
        self.user_id_getter, self.period_key_fn = user_id_getter, period_key_fn
        self.quota_tokens = settings.whole("quota_tokens", quota_tokens, least=0)
        self.quota_store = settings.store_for(quota_store, self.quota_tokens)
        self.trouble = Trouble()
        self._quota = Quota(
            quota_store, blocks=settings.blocks(on_store_error), trouble=self.trouble
        )
        self._learned = Learned(settings.whole("default_hold", default_hold, least=2))
        self._clock = clock
        self._forgotten: deque[tuple[Call, Told | None]] = deque()

    async def process(self, context: ChatContext, call_next: Callable[[], Awaitable[None]]) -> None:
        """As `ChatMiddleware.process`.

        Raises:
            QuotaExceededError: the request does not fit; it was not sent.
        """
        await self.flush()
        call = await self._begin(context)
        if call is None:
            await call_next()
        elif call.streaming:
            await self._stream(context, call_next, call)
        else:
            await self._whole(context, call_next, call)

    async def flush(self) -> None:
        """Charge the streams that were dropped without being closed.

        That happens by itself, soon or with the next request; call this where neither comes.
        """
        while self._forgotten:
            try:
                call, told = self._forgotten.popleft()
            except IndexError:  # another thread was faster
                return
            await self._end(call, told)

    def _extract_streaming_usage(self, response: Any, captured: dict[str, Any]) -> dict[str, Any]:
        """What a stream has used; override it for a provider that says so in its own way.

        Args:
            response: the whole answer.
            captured: the usage that came with its updates; empty if there was none.

        Returns:
            ``input_token_count``, ``output_token_count`` and ``total_token_count``, as far as
            they are known; empty if nothing is, and the call is estimated.
        """
        return dict(captured) or dict(getattr(response, "usage_details", None) or {})

    # Before ------------------------------------------------------------------------------------

    async def _begin(self, context: ChatContext) -> Call | None:
        """The request with its hold; None for one that cannot be counted, which is let in."""
        try:
            call = await self._read(context)
        except Exception as error:  # noqa: BLE001 - the door
            self.trouble.note("token_guard", error)
            return None
        wanted = call.held_input + call.held_output
        quota = self.quota_tokens
        answer = await self._quota.reserve(call.user_id, call.period_key, wanted, quota)
        if isinstance(answer, Full | Unasked):
            payload = records.refusal(call, answer, quota)
            await tell("on_quota_exceeded", self.on_quota_exceeded, payload, self.trouble)
            window = window_of(self.period_key_fn)
            raise records.error(call, answer, quota, window, self._clock())
        call.hold = answer
        return call

    async def _read(self, context: ChatContext) -> Call:
        model = model_of(context)
        try:
            given = input_of(context, model)
        except Exception as error:  # noqa: BLE001 - then it is held by default
            self.trouble.note("request", error)
            given = 0
        held = self._learned.hold(model, given, most_output(context))
        user_id, period_key = await self._user(context), await self._period()
        return Call(user_id, period_key, model, bool(context.stream), given, *held)

    async def _user(self, context: ChatContext) -> str:
        try:
            return str(await settled(self.user_id_getter(context)))
        except Exception as error:  # noqa: BLE001 - of nobody, then
            self.trouble.note("user_id_getter", error)
            return ANONYMOUS

    async def _period(self) -> str:
        window = window_of(self.period_key_fn)
        if window is None:
            try:
                return str(await settled(self.period_key_fn()))
            except Exception as error:  # noqa: BLE001 - of this month, then
                self.trouble.note("period_key_fn", error)
        return key_at(window or "month", self._clock())

    # After -------------------------------------------------------------------------------------

    async def _whole(
        self, context: ChatContext, call_next: Callable[[], Awaitable[None]], call: Call
    ) -> None:
        try:
            await call_next()
        except BaseException as error:
            # who does not wait for the answer any more has it made all the same
            await self._fail(call, error, None if isinstance(error, Exception) else call.given_up())
            raise
        response = context.result
        usage: Any = getattr(response, "usage_details", None)
        await self._end(call, None if response is None else call.told(usage, response))

    async def _stream(
        self, context: ChatContext, call_next: Callable[[], Awaitable[None]], call: Call
    ) -> None:
        try:
            await call_next()
        except BaseException as error:
            await self._fail(call, error, None)  # a stream begins when it is read
            raise
        if not isinstance(context.result, ResponseStream):
            await self._end(call, None)
            return
        watch = self._watch(call)
        try:
            watch.watch(context.result)
        except Exception as error:  # noqa: BLE001 - then it is estimated when `watch` is deleted
            self.trouble.note("stream", error)
            watch.begun = True

    def _watch(self, call: Call) -> StreamWatch:
        wake = in_this_loop(lambda: self._quota.start(self.flush()))

        async def ended(watch: StreamWatch, response: Any) -> None:
            if response is None:
                await self._end(call, call.broken_off(watch))
            else:
                await self._end(call, call.told(self._usage(response, watch.usage), response))

        def forgotten(watch: StreamWatch) -> None:
            self._forgotten.append((call, call.broken_off(watch)))
            wake()

        return StreamWatch(ended, forgotten, self.trouble)

    def _usage(self, response: Any, captured: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._extract_streaming_usage(response, captured)
        except Exception as error:  # noqa: BLE001 - a subclass's
            self.trouble.note("extract_streaming_usage", error)
            return TokenGuardMiddleware._extract_streaming_usage(self, response, captured)

    async def _fail(self, call: Call, error: BaseException, told: Told | None) -> None:
        if isinstance(error, Exception | asyncio.CancelledError):
            await self._end(call, told)
        else:
            self._forgotten.append((call, told))  # nothing can be awaited any more

    async def _end(self, call: Call, told: Told | None) -> None:
        """Charge a call that is over. Whoever waits for it may be cancelled."""
        await asyncio.shield(self._quota.start(self._finish(call, told)))

    async def _finish(self, call: Call, told: Told | None) -> None:
        total = told.total if told else 0
        used = await self._quota.settle(call.user_id, call.period_key, call.hold, total)
        if told is None:
            return
        if not told.estimated:
            self._learned.note(call.model, (told.given or 0) - call.given, told.made or 0)
        record = records.usage(call, told, self.quota_tokens, used, self._clock())
        await tell("on_usage", self.on_usage, record, self.trouble)
