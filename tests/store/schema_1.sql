-- What a file of schema 1 was made by, and three events, of which the last was corrected. Times are TIMESTAMP in UTC: TIMESTAMPTZ is four times slower to bucket.
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

-- What each drain added to the minutes: append-only, corrections with a minus. Read `usage_1m`.
create table if not exists usage_1m_changes (
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
    cost_usd double
);

create view if not exists usage_1m as
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
    sum(cost_usd) as cost_usd
from usage_1m_changes
group by all
having sum(calls) <> 0;

-- Segments whose rows are in the tables above, until their files are deleted.
create table if not exists drained_segments (name varchar not null);

create table if not exists atm_schema (version integer not null);

insert into atm_schema values (1);

insert into usage_events values
    ('0193-1', '2026-01-01 10:00:01', null, null, 5, null, null, 'bot', null, 'ml', 'ann', null, 'openai', 'gpt-5.1', 'chat', 'ok', 'allowed', null, 1, 1, 100, 10, 0, 0, 0, 110, 0.1, null, false, 'span', [], '{}'::json::variant, 0),
    ('0193-2', '2026-01-01 10:59:59.5', null, null, 5, null, null, 'bot', null, 'ml', 'ann', null, 'openai', 'gpt-5.1', 'chat', 'ok', 'allowed', null, 1, 1, 200, 20, 0, 0, 0, 220, 0.2, null, false, 'span', [], '{}'::json::variant, 0),
    ('0193-3', '2026-01-01 10:00:02', null, null, 5, null, null, 'bot', null, 'ml', null, null, 'openai', 'own', 'chat', 'ok', 'allowed', null, 1, 1, 7, 3, 0, 0, 0, 10, null, null, false, 'span', [], '{}'::json::variant, 1);

insert into usage_1m_changes values
    ('2026-01-01 10:00:00', 'bot', null, 'ml', 'ann', 'openai', 'gpt-5.1', 'chat', 'ok', 'allowed', 1, 1, 100, 10, 0, 0, 0, 110, 0.1),
    ('2026-01-01 10:59:00', 'bot', null, 'ml', 'ann', 'openai', 'gpt-5.1', 'chat', 'ok', 'allowed', 1, 1, 200, 20, 0, 0, 0, 220, 0.2),
    ('2026-01-01 10:00:00', 'bot', null, 'ml', null, 'openai', 'own', 'chat', 'lost', 'allowed', 1, 1, 500, 500, 0, 0, 0, 1000, null),
    ('2026-01-01 10:00:00', 'bot', null, 'ml', null, 'openai', 'own', 'chat', 'lost', 'allowed', -1, -1, -500, -500, 0, 0, 0, -1000, null),
    ('2026-01-01 10:00:00', 'bot', null, 'ml', null, 'openai', 'own', 'chat', 'ok', 'allowed', 1, 1, 7, 3, 0, 0, 0, 10, null);
