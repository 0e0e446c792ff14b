-- Rows of `otel-atm export --parquet`, in ClickHouse. A day may be loaded again, and files of several
-- hosts side by side: of one event_id the highest revision is kept. Times are UTC. Ids rise with time.
create table if not exists usage_events_kept (
    event_id String,
    ts DateTime64(6, 'UTC'),
    trace_id Nullable(String),
    span_id Nullable(String),
    duration_us Nullable(Int64),
    ttft_us Nullable(Int64),
    service LowCardinality(Nullable(String)),
    app LowCardinality(Nullable(String)),
    env LowCardinality(Nullable(String)),
    team LowCardinality(Nullable(String)),
    user_id LowCardinality(Nullable(String)),
    session_id Nullable(String),
    provider LowCardinality(Nullable(String)),
    model LowCardinality(Nullable(String)),
    operation LowCardinality(Nullable(String)),
    status LowCardinality(String),
    decision LowCardinality(String),
    budget LowCardinality(Nullable(String)),
    calls Int64,
    attempts Int64,
    input_tokens Int64,
    output_tokens Int64,
    cache_read_tokens Int64,
    cache_write_tokens Int64,
    reasoning_tokens Int64,
    total_tokens Int64,
    cost_usd Nullable(Float64),
    price_version LowCardinality(Nullable(String)),
    estimated Bool,
    source LowCardinality(String),
    tags Array(LowCardinality(String)),
    attributes String, -- JSON
    revision Int32,
    index by_time ts type minmax
)
engine = ReplacingMergeTree(revision)
partition by toYYYYMM(ts)
order by event_id;

-- What is asked: whatever was loaded twice is there once, merged already or not. The rows of one id
-- have one time, so they lie in one partition.
create view if not exists usage_events as
select * from usage_events_kept final
settings do_not_merge_across_partitions_select_final = 1;
