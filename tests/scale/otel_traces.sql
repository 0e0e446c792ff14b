-- Columns, types and order of the table that the collector's ClickHouse exporter makes, v0.159.
create table otel_traces (
    Timestamp DateTime64(9),
    TraceId String,
    SpanId String,
    ParentSpanId String,
    TraceState String,
    SpanName LowCardinality(String),
    SpanKind LowCardinality(String),
    ServiceName LowCardinality(String),
    ResourceAttributes Map(LowCardinality(String), String),
    ScopeName String,
    ScopeVersion String,
    SpanAttributes Map(LowCardinality(String), String),
    Duration UInt64,
    StatusCode LowCardinality(String),
    StatusMessage String,
    Events Nested (
        Timestamp DateTime64(9), Name LowCardinality(String),
        Attributes Map(LowCardinality(String), String)
    ),
    Links Nested (
        TraceId String, SpanId String, TraceState String,
        Attributes Map(LowCardinality(String), String)
    )
)
engine = MergeTree
partition by toDate(Timestamp)
order by (ServiceName, SpanName, toDateTime(Timestamp));
