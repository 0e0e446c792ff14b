-- Takes the segments named by the variable `segments` into the tables, inside one transaction.
-- A row of an event that is there already counts only if its revision is higher; the minutes get
-- the difference.

create or replace temp table lines as
select *
from read_csv(
    getvariable('segments'),
    auto_detect = false, header = false, delim = ',', quote = '"', escape = '"',
    nullstr = 'null', null_padding = true, filename = true,
    columns = {
        'head': 'varchar', 'text': 'varchar', 'ts_ns': 'bigint', 'trace_high': 'ubigint',
        'trace_low': 'ubigint', 'span': 'ubigint', 'duration_ns': 'bigint', 'ttft_us': 'bigint',
        'first_tokens': 'varchar', 'output_tokens': 'bigint', 'cache_read_tokens': 'bigint',
        'cache_write_tokens': 'bigint', 'last_tokens': 'varchar', 'cost': 'varchar',
        'last': 'varchar'
    }
);

create or replace temp table incoming as
with heads as (
    select filename, head, unnest(from_json(text, '{
        "service": "VARCHAR", "app": "VARCHAR", "env": "VARCHAR", "team": "VARCHAR",
        "user_id": "VARCHAR", "session_id": "VARCHAR", "provider": "VARCHAR", "model": "VARCHAR",
        "operation": "VARCHAR", "status": "VARCHAR", "decision": "VARCHAR", "budget": "VARCHAR",
        "calls": "BIGINT", "attempts": "BIGINT", "estimated": "BOOLEAN", "revision": "INTEGER",
        "source": "VARCHAR", "tags": ["VARCHAR"], "attributes": "JSON",
        "price_version": "VARCHAR", "rates": ["HUGEINT"]
    }'))
    from lines
    where ts_ns is null and json_valid(text)
),
rows as (
    select
        -- Rows that were written before there were prices end one element sooner, and have µs.
        * exclude (text, first_tokens, last_tokens, cost)
            replace (if(last is null, 1000, 1) * duration_ns as duration_ns),
        text as event_id,
        substr(first_tokens, 2)::bigint as input_tokens,  -- behind its bracket
        rtrim(last_tokens, ']')::bigint as reasoning_tokens,
        -- What was read from and written to a cache, and what is reasoning, as far as it can be.
        least(cache_read_tokens, input_tokens) as from_cache,
        least(cache_write_tokens, input_tokens - from_cache) as to_cache,
        least(reasoning_tokens, output_tokens) as thought,
        if(last is null, null, cost)::hugeint as cost
    from lines
    where last = '0]' or (last is null and cost = '0]')
),
costs as (
    select
        rows.* exclude (from_cache, to_cache, thought, cost), heads.* exclude (filename, head, rates),
        -- In pico-USD; rates are for input, cache read, cache write, output and reasoning.
        coalesce(
            cost,
            (input_tokens - from_cache - to_cache) * rates[1] + from_cache * rates[2]
                + to_cache * rates[3] + (output_tokens - thought) * rates[4] + thought * rates[5]
        ) as pico
    from rows join heads using (filename, head)
)
select
    event_id,
    make_timestamp(ts_ns // 1000) as ts,
    case when trace_high > 0 or trace_low > 0
        then format('{:016x}{:016x}', trace_high, trace_low) end as trace_id,
    case when span > 0 then format('{:016x}', span) end as span_id,
    case when duration_ns >= 0 and duration_ns < 31622400000000000  -- a leap year
        then duration_ns // 1000 end as duration_us,
    ttft_us, service, app, env, team, user_id, session_id,
    provider, model, operation, status, decision, budget, calls, attempts,
    input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens,
    input_tokens + output_tokens as total_tokens,
    -- The nearest double: a cast of more than 53 bits and a division would round twice.
    case when pico < 9007199254740992 then pico::double / 1e12
        else (pico // 1000000000000 || '.' || lpad((pico % 1000000000000)::varchar, 12, '0'))::double
    end as cost_usd,
    price_version, estimated, source, tags, attributes::variant as attributes, revision
from costs
qualify row_number() over (partition by event_id order by revision desc) = 1;

-- What retention has deleted may have been counted before: nothing comes in from before then.
set variable events_since = (
    select coalesce(max(since), '-infinity') from atm_horizon where relation = 'usage_events'
);

set variable rollups_since = (
    select coalesce(max(since), '-infinity') from atm_horizon where relation = 'rollups'
);

delete from incoming where ts < getvariable('events_since');

set variable first_ts = (select min(ts) from incoming);

set variable last_ts = (select max(ts) from incoming);

create or replace temp table known as
select usage_events.*
from usage_events join incoming using (ts, event_id)
where usage_events.ts between getvariable('first_ts') and getvariable('last_ts');

delete from incoming using known
where incoming.event_id = known.event_id and incoming.revision <= known.revision;

delete from known where event_id not in (select event_id from incoming);

delete from usage_events using known
where usage_events.event_id = known.event_id
    and usage_events.ts between getvariable('first_ts') and getvariable('last_ts');

insert into usage_events by name select * from incoming order by ts;

insert into usage_1m_changes
select
    date_trunc('minute', ts), app, env, team, user_id, provider, model, operation, status, decision,
    sum(sign * calls), sum(sign * attempts), sum(sign * input_tokens), sum(sign * output_tokens),
    sum(sign * cache_read_tokens), sum(sign * cache_write_tokens), sum(sign * reasoning_tokens),
    sum(sign * total_tokens), sum(sign * cost_usd)
from (
    select 1 as sign, * from incoming
    union all by name
    select -1 as sign, * from known
)
where ts >= getvariable('rollups_since')
group by all;

drop table lines;

drop table known;
