"""Records: what callbacks are told, key by key, and the error of a refused call."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from otel_atm.guards.agent_framework.calls import Call
from otel_atm.guards.agent_framework.errors import QuotaExceededError
from otel_atm.guards.agent_framework.periods import end_of
from otel_atm.guards.agent_framework.quota import Unasked
from otel_atm.guards.agent_framework.stores import Full
from otel_atm.guards.agent_framework.tellers import Told
from otel_atm.window import instant


def usage(call: Call, told: Told, quota_tokens: int, used: int, now_ns: int) -> dict[str, Any]:
    """The record of a call; ``estimated`` is there only where the numbers are ours."""
    record: dict[str, Any] = {
        "user_id": call.user_id,
        "period_key": call.period_key,
        "model": told.model,
        "input_tokens": told.given,
        "output_tokens": told.made,
        "total_tokens": told.total,
        "quota_tokens": quota_tokens,
        "used_tokens_after_call": used,
        "timestamp_utc": instant(now_ns).isoformat(),
        "streaming": call.streaming,
    }
    if told.estimated:
        record["estimated"] = True
    return record


def refusal(call: Call, answer: Full | Unasked, quota_tokens: int) -> dict[str, Any]:
    """The payload of a refused call."""
    asked = isinstance(answer, Full)
    return {
        "user_id": call.user_id,
        "period_key": call.period_key,
        "used_tokens": answer.used,
        "quota_tokens": quota_tokens,
        "reason": "quota_exceeded_before_call" if asked else "quota_store_failed",
    }


def error(
    call: Call, answer: Full | Unasked, quota_tokens: int, window: str | None, now_ns: int
) -> QuotaExceededError:
    """What a refused call raises.

    Args:
        call: that is refused.
        answer: why.
        quota_tokens: the most that its user may use in a period.
        window: of the period, "month", "week" or "day"; None for one of the user's own.
        now_ns: when it is refused.
    """
    resets_at: datetime | None = None
    retry_after_s: float | None = None
    if window is not None:
        resets_at, retry_after_s = end_of(window, now_ns)
    name = "period" if window is None else window
    return QuotaExceededError(
        user_id=call.user_id,
        period_key=call.period_key,
        budget=f"{quota_tokens} tokens / {name} per user",
        scope={"user": call.user_id},
        unit="tokens",
        requested=call.held_input + call.held_output,
        used=answer.used,
        held=answer.held,
        limit=quota_tokens,
        resets_at=resets_at,
        retry_after_s=retry_after_s,
        window=name,
        reason=None if isinstance(answer, Full) else "the quota store cannot be asked",
    )
