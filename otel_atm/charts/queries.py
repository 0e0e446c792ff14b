"""The queries: each is a file under ``queries/``, asked of a Reader, answered in rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from otel_atm.charts.rows import Latency, ModelTokens, Refusals, TokenKinds, Totals, UserModel
from otel_atm.errors import StoreError

if TYPE_CHECKING:
    from otel_atm.store.reader import Reader

_Row = TypeVar("_Row", bound=NamedTuple)

#: Widths of a bucket of time, in seconds: 1 s to a week.
WIDTHS_S: Final = (1, 5, 10, 30, 60, 300, 900, 3600, 6 * 3600, 86_400, 7 * 86_400)
_MOST_BUCKETS: Final = 90


class TimeRange(NamedTuple):
    """From `since` until just before `until`; None: from the first, to the last call.

    A datetime without a zone is UTC, as those in the file are.
    """

    since: datetime | None = None
    until: datetime | None = None


ALWAYS: Final = TimeRange()


def totals(db: Reader, during: TimeRange = ALWAYS) -> Totals:
    """All calls in one row."""
    return _rows(db, "totals", Totals, during)[0]


def by_user_model(db: Reader, during: TimeRange = ALWAYS) -> list[UserModel]:
    """Calls, refusals and tokens, by team, user and model."""
    return _rows(db, "by_user_model", UserModel, during)


def tokens_over_time(
    db: Reader, width_s: int = 60, during: TimeRange = ALWAYS
) -> list[ModelTokens]:
    """Tokens by bucket of time and model, in that order; buckets without calls are left out.

    Args:
        db: the store.
        width_s: of a bucket, in seconds; whole minutes are read from the roll-up. See `width_for`.
        during: when.
    """
    name = "tokens_by_second_model" if width_s % 60 else "tokens_by_minute_model"
    return _rows(db, name, ModelTokens, during, width_s=width_s)


def refusals(db: Reader, during: TimeRange = ALWAYS) -> list[Refusals]:
    """Refusals by budget, team and user, the most refused first."""
    return _rows(db, "refusals", Refusals, during)


def token_kinds(db: Reader, during: TimeRange = ALWAYS) -> list[TokenKinds]:
    """What the tokens of each model are."""
    return _rows(db, "token_kinds", TokenKinds, during)


def latency(db: Reader, during: TimeRange = ALWAYS) -> list[Latency]:
    """Quantiles of how long calls took, by model."""
    return _rows(db, "latency", Latency, during)


def width_for(span: timedelta) -> int:
    """The narrowest of `WIDTHS_S` that cuts a span of time into 90 buckets or fewer."""
    enough = (width for width in WIDTHS_S if span.total_seconds() <= width * _MOST_BUCKETS)
    return next(enough, WIDTHS_S[-1])


@cache
def read(name: str) -> str:
    """The SQL text of a query."""
    folder = resources.files("otel_atm.charts").joinpath("queries")
    return folder.joinpath(f"{name}.sql").read_text("utf-8")


def _rows(
    db: Reader, name: str, row: type[_Row], during: TimeRange, **params: object
) -> list[_Row]:
    import duckdb  # 0.3 s; see otel_atm.store.drain

    params |= {"since": _utc(during.since), "until": _utc(during.until)}
    try:
        relation = db.sql(read(name), params)
    except duckdb.CatalogException as error:
        raise StoreError(
            "the DuckDB file has no usage_events: it was not written by otel-atm"
        ) from error
    make: Any = row._make
    return [make(values) for values in relation.fetchall()]


def _utc(moment: datetime | None) -> datetime | None:
    if moment is None or moment.tzinfo is None:
        return moment
    return moment.astimezone(UTC).replace(tzinfo=None)
