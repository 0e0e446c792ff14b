-- The relations of a store, version 2. Times are TIMESTAMP in UTC: TIMESTAMPTZ is four times slower to bucket.
create table if not exists usage_events (
    event_id varchar not null,
    ts timestamp not null,
    trace_id varchar,
    span_id varchar,
    duration_us bigint,
    ttft_us bigint,
    service varchar,
    app varchar,
    env varchar,
    team varchar,
    user_id varchar,
    session_id varchar,
    provider varchar,
    model varchar,
    operation varchar,
    status varchar not null,
    decision varchar not null,
    budget varchar,
    calls bigint not null,
    attempts bigint not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cache_read_tokens bigint not null,
    cache_write_tokens bigint not null,
    reasoning_tokens bigint not null,
    total_tokens bigint not null,
    cost_usd double,
    price_version varchar,
    estimated boolean not null,
    source varchar not null,
    tags varchar[] not null,
    attributes variant,
    revision integer not null
);

-- Roll-ups: what each drain added, append-only, corrections with a minus; a cost is a decimal, so that a
-- correction cancels to the last digit. Mostly a bucket comes in one drain, or was merged: then its
-- rows are those of the view. Others are split: they stand in the table of that name, with how many
-- rows were added since the bucket was whole, and the view adds their parts up.
create table if not exists usage_1m_parts (
    bucket timestamp not null,
    app varchar,
    env varchar,
    team varchar,
    user_id varchar,
    provider varchar,
    model varchar,
    operation varchar,
    status varchar not null,
    decision varchar not null,
    calls bigint not null,
    attempts bigint not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cache_read_tokens bigint not null,
    cache_write_tokens bigint not null,
    reasoning_tokens bigint not null,
    total_tokens bigint not null,
    cost_usd decimal(38, 12)
);

create table if not exists usage_1m_split (bucket timestamp not null, added bigint not null);

create view if not exists usage_1m as
select
    bucket, app, env, team, user_id, provider, model, operation, status, decision,
    calls, attempts, input_tokens, output_tokens,
    cache_read_tokens, cache_write_tokens, reasoning_tokens, total_tokens,
    cost_usd::double as cost_usd
from usage_1m_parts anti join usage_1m_split using (bucket)
union all
select
    bucket, app, env, team, user_id, provider, model, operation, status, decision,
    sum(calls)::bigint as calls,
    sum(attempts)::bigint as attempts,
    sum(input_tokens)::bigint as input_tokens,
    sum(output_tokens)::bigint as output_tokens,
    sum(cache_read_tokens)::bigint as cache_read_tokens,
    sum(cache_write_tokens)::bigint as cache_write_tokens,
    sum(reasoning_tokens)::bigint as reasoning_tokens,
    sum(total_tokens)::bigint as total_tokens,
    sum(cost_usd)::double as cost_usd
from usage_1m_parts semi join usage_1m_split using (bucket)
group by all
having sum(calls) <> 0 or sum(attempts) <> 0 or sum(total_tokens) <> 0 or sum(cost_usd) <> 0;

create table if not exists usage_1h_parts (
    bucket timestamp not null,
    app varchar,
    env varchar,
    team varchar,
    user_id varchar,
    provider varchar,
    model varchar,
    operation varchar,
    status varchar not null,
    decision varchar not null,
    calls bigint not null,
    attempts bigint not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cache_read_tokens bigint not null,
    cache_write_tokens bigint not null,
    reasoning_tokens bigint not null,
    total_tokens bigint not null,
    cost_usd decimal(38, 12)
);

create table if not exists usage_1h_split (bucket timestamp not null, added bigint not null);

create view if not exists usage_1h as
select
    bucket, app, env, team, user_id, provider, model, operation, status, decision,
    calls, attempts, input_tokens, output_tokens,
    cache_read_tokens, cache_write_tokens, reasoning_tokens, total_tokens,
    cost_usd::double as cost_usd
from usage_1h_parts anti join usage_1h_split using (bucket)
union all
select
    bucket, app, env, team, user_id, provider, model, operation, status, decision,
    sum(calls)::bigint as calls,
    sum(attempts)::bigint as attempts,
    sum(input_tokens)::bigint as input_tokens,
    sum(output_tokens)::bigint as output_tokens,
    sum(cache_read_tokens)::bigint as cache_read_tokens,
    sum(cache_write_tokens)::bigint as cache_write_tokens,
    sum(reasoning_tokens)::bigint as reasoning_tokens,
    sum(total_tokens)::bigint as total_tokens,
    sum(cost_usd)::double as cost_usd
from usage_1h_parts semi join usage_1h_split using (bucket)
group by all
having sum(calls) <> 0 or sum(attempts) <> 0 or sum(total_tokens) <> 0 or sum(cost_usd) <> 0;

-- Segments whose rows are in the tables above, until their files are deleted.
create table if not exists drained_segments (name varchar not null);

-- From when on rows are kept: what is older was deleted by its age, and is not taken in again.
create table if not exists atm_horizon (
    relation varchar not null,  -- 'usage_events', 'rollups', 'metric_points'
    since timestamp not null
);

create table if not exists atm_schema (version integer not null);
