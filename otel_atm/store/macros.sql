-- Of a time in UTC, the clock on the wall there. A TIMESTAMP: TIMESTAMPTZ needs pytz in Python.
create macro if not exists local_time(ts, zone) as timezone(zone, timezone('UTC', ts));

-- The roll-ups by local hours and days. Only the distinct hours are converted, not each row. An
-- hour that begins in one local bucket and ends in another (an offset of 30 or 45 minutes) is
-- taken minute by minute.
create macro if not exists usage_by_hour(zone) as table
with hours as (
    select
        bucket, date_trunc('hour', local_time(bucket, zone)) as hour,
        date_trunc('hour', local_time(bucket + interval '3599 seconds', zone)) as hour_of_its_end
    from (select distinct bucket from usage_1h)
),
minutes as (
    select bucket, date_trunc('hour', local_time(bucket, zone)) as hour
    from (
        select distinct bucket from usage_1m
        where date_trunc('hour', bucket) in (select bucket from hours where hour <> hour_of_its_end)
    )
)
select hour, usage_1h.* exclude (bucket) from usage_1h join hours using (bucket) where hour = hour_of_its_end
union all
select hour, usage_1m.* exclude (bucket) from usage_1m join minutes using (bucket);

create macro if not exists usage_by_day(zone) as table
with hours as (
    select
        bucket, date_trunc('day', local_time(bucket, zone))::date as day,
        date_trunc('day', local_time(bucket + interval '3599 seconds', zone))::date as day_of_its_end
    from (select distinct bucket from usage_1h)
),
minutes as (
    select bucket, date_trunc('day', local_time(bucket, zone))::date as day
    from (
        select distinct bucket from usage_1m
        where date_trunc('hour', bucket) in (select bucket from hours where day <> day_of_its_end)
    )
)
select day, usage_1h.* exclude (bucket) from usage_1h join hours using (bucket) where day = day_of_its_end
union all
select day, usage_1m.* exclude (bucket) from usage_1m join minutes using (bucket);
