"""What a guarded agent raises when its user's quota is used up."""

from __future__ import annotations

from typing import Any

from otel_atm.errors import TokenQuotaExceeded


class QuotaExceededError(TokenQuotaExceeded, RuntimeError):
    """A call was refused before it was sent.

    Attributes:
        user_id: whose quota it is.
        period_key: of the period that is used up.

    All facts of `TokenQuotaExceeded` besides: `used`, `held`, `limit`, `requested`, and `resets_at`
    and `retry_after_s`, which are None where the period is one of your own.
    """

    user_id: str
    period_key: str

    def __init__(self, *, user_id: str, period_key: str, **facts: Any) -> None:
        super().__init__(**facts)
        self.user_id, self.period_key = user_id, period_key
