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

-- Roll-ups: one row for each key and bucket, always; the drain merges what comes into them.
create table if not exists usage_1m (
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

create table if not exists usage_1h (
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

-- Segments whose rows are in the tables above, until their files are deleted.
create table if not exists drained_segments (name varchar not null);

-- From when on rows are kept: what is older was deleted by its age, and is not taken in again.
create table if not exists atm_horizon (
    relation varchar not null,  -- 'usage_events', 'rollups', 'metric_points'
    since timestamp not null
);

create table if not exists atm_schema (version integer not null);
