-- The segments named by the variable `segments`, as rows and the heads that say what rows have in
-- common.
create or replace temp table lines as
select *, file_index
from read_csv(
    getvariable('segments'),
    auto_detect = false, header = false, delim = ',', quote = '"', escape = '"',
    nullstr = 'null', null_padding = true,
    columns = {
        'head': 'varchar', 'text': 'varchar', 'ts_ns': 'bigint', 'trace_high': 'ubigint',
        'trace_low': 'ubigint', 'span': 'ubigint', 'duration_ns': 'bigint', 'ttft_us': 'bigint',
        'first_tokens': 'varchar', 'output_tokens': 'bigint', 'cache_read_tokens': 'bigint',
        'cache_write_tokens': 'bigint', 'last_tokens': 'varchar', 'cost': 'varchar',
        'last': 'varchar'
    }
)
order by ts_ns;

create or replace temp table heads as
select * exclude (rates, attributes),
    attributes::variant as attributes,
    rates[1] as input_rate, rates[2] as cache_read_rate, rates[3] as cache_write_rate,
    rates[4] as output_rate, rates[5] as reasoning_rate
from (
    select file_index, head, unnest(from_json(text, '{
        "service": "VARCHAR", "app": "VARCHAR", "env": "VARCHAR", "team": "VARCHAR",
        "user_id": "VARCHAR", "session_id": "VARCHAR", "provider": "VARCHAR", "model": "VARCHAR",
        "operation": "VARCHAR", "status": "VARCHAR", "decision": "VARCHAR", "budget": "VARCHAR",
        "calls": "BIGINT", "attempts": "BIGINT", "estimated": "BOOLEAN", "revision": "INTEGER",
        "source": "VARCHAR", "tags": ["VARCHAR"], "attributes": "JSON",
        "price_version": "VARCHAR", "rates": ["HUGEINT"]
    }'))
    from lines
    where ts_ns is null and json_valid(text)
);

-- Sixteen digits; `format` takes three times as long.
create or replace temp macro hex16(number) as
    lower(if(number >= 1152921504606846976, hex(number), right('000000000000000' || hex(number), 16)));

-- What retention has deleted may have been counted before: nothing comes in from before then.
set variable events_since = (
    select coalesce(max(since), '-infinity') from atm_horizon where relation = 'usage_events'
);

set variable rollups_since = (
    select coalesce(max(since), '-infinity') from atm_horizon where relation = 'rollups'
);

-- Lines that are no heads, and whether they are as they were written. Rows that were written before
-- there were prices end one element sooner, and have µs.
create or replace temp view written as
select
    lines.rowid as line, file_index, head, text as event_id, make_timestamp(ts_ns // 1000) as ts,
    trace_high, trace_low, span, if(last is null, 1000, 1) * duration_ns as duration_ns, ttft_us,
    try_cast(substr(first_tokens, 2) as bigint) as input_tokens,  -- behind its bracket
    output_tokens, cache_read_tokens, cache_write_tokens,
    try_cast(rtrim(last_tokens, ']') as bigint) as reasoning_tokens,
    if(last is null, null, cost) as own_cost,
    coalesce(last, cost) is not distinct from '0]'
        and input_tokens is not null and reasoning_tokens is not null as sound
from lines
where ts_ns is not null;

create or replace temp view whole as
select * exclude (own_cost, sound), own_cost::hugeint as cost
from written
where sound and ts >= getvariable('events_since');

-- Rows and heads, with what they cost in US dollars.
create or replace temp view incoming as
with parts as (
    -- What was read from and written to a cache, and what is reasoning, as far as it can be.
    select
        *,
        least(cache_read_tokens, input_tokens) as from_cache,
        least(cache_write_tokens, input_tokens - from_cache) as to_cache,
        least(reasoning_tokens, output_tokens) as thought
    from whole
),
costs as (
    select
        parts.* exclude (from_cache, to_cache, thought, cost), heads.* exclude (file_index, head),
        -- In pico-USD.
        coalesce(
            cost,
            (input_tokens - from_cache - to_cache) * input_rate + from_cache * cache_read_rate
                + to_cache * cache_write_rate + (output_tokens - thought) * output_rate
                + thought * reasoning_rate
        ) as pico
    from parts join heads using (file_index, head)
)
select
    *,
    -- The nearest double: a cast of more than 53 bits and a division would round twice.
    case when pico < 9007199254740992 then pico::double / 1e12
        else (pico // 1000000000000 || '.' || lpad((pico % 1000000000000)::varchar, 12, '0'))::double
    end as cost_usd
from costs;
