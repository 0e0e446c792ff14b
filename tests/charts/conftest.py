"""A small file whose rows are all known."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

import otel_atm
from otel_atm import Reader
from otel_atm.store.drain import create
from otel_atm.store.paths import StorePaths

# ts, team, user, model, decision, status, budget, calls, input, output, cache_read, cache_write,
# reasoning, estimated, cost_usd, duration_us, ttft_us
ROWS = """
('10:00:05', 'ml',  'ann', 'gpt-5',  'allowed', 'ok',    null, 1, 100, 50, 40, 10, 20, false, 0.5 , 1000, null),
('10:00:20', 'ml',  'ann', 'gpt-5',  'allowed', 'ok',    null, 1, 200, 60,  0,  0,  0, false, 0.25, 3000,  500),
('10:01:10', 'ml',  'ben', 'haiku',  'allowed', 'error', null, 1,  10,  0,  0,  0,  0, true, null,  9000, null),
('10:01:30', 'ml',  'ann', 'gpt-5',  'refused', 'error', 'B1', 3,   0,  0,  0,  0,  0, false, 0   , null, null),
('10:02:00', 'ops', 'cid', 'haiku',  'allowed', 'ok',    null, 1,   7,  3,  0,  0,  0, false, null, 2000, null),
('10:59:59', 'ops', 'cid', 'haiku',  'refused', 'error', 'B2', 1,   0,  0,  0,  0,  0, false, null, null, null),
('11:00:00', null,  null,  null,     'allowed', 'ok',    null, 1,   5,  5,  0,  0,  0, true, null,  null, null)
"""  # noqa: E501 - a row a line

FILL = f"""
insert into usage_events by name
select
    format('id-{{:02d}}', row_number() over ()) as event_id,
    '2026-01-01'::date + ts::time as ts,
    * exclude (ts),
    calls as attempts, input_tokens + output_tokens as total_tokens,
    'span' as source, [] as tags, 0 as revision
from (values {ROWS}) as given(
    ts, team, user_id, model, decision, status, budget, calls, input_tokens, output_tokens,
    cache_read_tokens, cache_write_tokens, reasoning_tokens, estimated, cost_usd,
    duration_us, ttft_us
)
"""
ROLL_UP = "".join(
    f"""
insert into usage_{view} by name
select
    date_trunc('{unit}', ts) as bucket, team, user_id, model, status, decision,
    sum(calls) as calls, sum(attempts) as attempts, sum(input_tokens) as input_tokens,
    sum(output_tokens) as output_tokens, sum(cache_read_tokens) as cache_read_tokens,
    sum(cache_write_tokens) as cache_write_tokens, sum(reasoning_tokens) as reasoning_tokens,
    sum(total_tokens) as total_tokens, sum(cost_usd) as cost_usd
from usage_events group by all;
"""
    for view, unit in (("1m", "minute"), ("1h", "hour"))
)


def make_file(path: Path, *more: str) -> Path:
    """A store, filled by further statements."""
    create(StorePaths.of(path))
    with duckdb.connect(path) as connection:
        for statement in more:
            connection.execute(statement)
    return path


@pytest.fixture
def known(tmp_path: Path) -> Reader:
    return otel_atm.connect(make_file(tmp_path / "known.duckdb", FILL, ROLL_UP))


@pytest.fixture
def empty(tmp_path: Path) -> Reader:
    return otel_atm.connect(make_file(tmp_path / "empty.duckdb"))
