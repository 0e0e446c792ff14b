"""The rows that the queries answer with; the fields are the columns, in their order.

Tokens are integers ≥ 0. Input includes what was cached, output includes reasoning, total is input
and output. Times are datetimes in UTC without a zone, as they are in the file. None stands for what
a call did not say.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class Totals(NamedTuple):
    """All calls in one row.

    Attributes:
        calls: that were let through.
        refused: that a budget refused before they were sent.
        failed: of `calls`, those that ended in an error.
        estimated_tokens: of `total_tokens`, those that are our estimate.
        cost_usd: of the calls whose price is known; None when it is known of none.
        unpriced_tokens: of `total_tokens`, those of the other calls.
        users: how many different ones.
        first_ts, last_ts: of the calls, refused ones included; None when there are none.
    """

    calls: int
    refused: int
    failed: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    total_tokens: int
    estimated_tokens: int
    cost_usd: float | None
    unpriced_tokens: int
    users: int
    first_ts: datetime | None
    last_ts: datetime | None


class UserModel(NamedTuple):
    """What one user of one team spent on one model.

    Attributes:
        cost_usd: of the calls whose price is known; None when it is known of none.
    """

    team: str | None
    user_id: str | None
    model: str | None
    calls: int
    refused: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    total_tokens: int
    estimated_tokens: int
    cost_usd: float | None


class ModelTokens(NamedTuple):
    """The tokens of one model in the bucket of time that starts at `bucket`."""

    bucket: datetime
    model: str | None
    calls: int
    input_tokens: int
    output_tokens: int
    total_tokens: int


class Refusals(NamedTuple):
    """How often a budget refused a user, and when last."""

    budget: str | None
    team: str | None
    user_id: str | None
    refused: int
    last_ts: datetime


class TokenKinds(NamedTuple):
    """What the tokens of a model are; the kinds do not overlap, and add up to all of them.

    Attributes:
        fresh_input_tokens: input that is neither read from the cache nor written to it.
        answer_tokens: output that is not reasoning.
    """

    model: str | None
    fresh_input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    answer_tokens: int
    reasoning_tokens: int


class Latency(NamedTuple):
    """How long the calls of a model took that ended well, in milliseconds.

    Attributes:
        calls: that say how long they took.
        p50_ms, p95_ms: half of them and 95 % of them took no longer.
        first_chunk_p50_ms, first_chunk_p95_ms: until a stream began; None without streams.
    """

    model: str | None
    calls: int
    p50_ms: float
    p95_ms: float
    first_chunk_p50_ms: float | None
    first_chunk_p95_ms: float | None
