-- Points of any OpenTelemetry metric, as exported; times are TIMESTAMP in UTC.
create table if not exists metric_points (
    time timestamp not null,
    start_time timestamp,
    name varchar not null,
    unit varchar,
    kind varchar not null,
    temporality varchar,
    monotonic boolean,
    value double,
    count bigint,
    sum double,
    min double,
    max double,
    bounds double[],
    bucket_counts bigint[],
    scale integer,
    zero_count bigint,
    positive_offset integer,
    positive_counts bigint[],
    negative_offset integer,
    negative_counts bigint[],
    quantiles double[],
    quantile_values double[],
    attributes variant,
    service varchar,
    scope_name varchar,
    scope_version varchar,
    resource variant,
    series varchar not null,
    writer varchar not null
);

-- What each point of a sum or a histogram added to its series since the point before.
create view if not exists metric_changes as
select
    * exclude (amount, amount_before, count_before, restarted),
    case
        when temporality = 'delta' then amount
        when amount_before is null then if(start_time is null, 0, amount)
        when restarted then amount
        else amount - amount_before
    end as added,
    case
        when temporality = 'delta' then count
        when count_before is null then if(start_time is null, 0, count)
        when restarted then count
        else count - count_before
    end as added_count
from (
    select
        *,
        coalesce(value, sum) as amount,
        lag(amount) over points as amount_before,
        lag(count) over points as count_before,
        amount < amount_before as restarted
    from metric_points
    where kind in ('sum', 'histogram', 'exponential_histogram')
        and coalesce(monotonic, true)
        and isfinite(coalesce(value, sum))
    window points as (partition by writer, series, start_time order by time)
)
-- Of what retention has deleted, the last point of a series is there to count from.
where time >= (
    select coalesce(max(since), '-infinity') from atm_horizon where relation = 'metric_points'
);

-- What metrics say of calls, in the terms of `usage_1m`: of all instrumentations that tell of a
-- service's model in an hour, the one that tells of most.
create view if not exists metric_usage_1m as
with told as (
    select
        date_trunc('minute', time) as bucket,
        service,
        coalesce(attributes['atm.app']::varchar, service) as app,
        coalesce(
            attributes['atm.env']::varchar,
            resource['deployment.environment.name']::varchar,
            resource['deployment.environment']::varchar
        ) as env,
        attributes['atm.team']::varchar as team,
        coalesce(
            attributes['gen_ai.provider.name']::varchar, attributes['gen_ai.system']::varchar
        ) as provider,
        coalesce(
            attributes['gen_ai.request.model']::varchar,
            attributes['gen_ai.response.model']::varchar
        ) as model,
        attributes['gen_ai.operation.name']::varchar as operation,
        attributes['atm.decision']::varchar as decision,
        name, scope_name, added, added_count,
        attributes['gen_ai.token.type']::varchar in ('output', 'completion') as made
    from metric_changes
    where name in ('gen_ai.client.token.usage', 'atm.tokens', 'atm.calls') and added > 0
),
sums as (
    select
        bucket, service, app, env, team, provider, model, operation, decision, scope_name,
        case
            when scope_name = 'otel_atm' then sum(added) filter (name = 'atm.calls')
            -- Each call is told once for its input and once for its output.
            else greatest(
                sum(added_count) filter (not made), sum(added_count) filter (made)
            )
        end as calls,
        sum(added) filter (name <> 'atm.calls' and made is not true) as input_tokens,
        sum(added) filter (name <> 'atm.calls' and made) as output_tokens
    from told
    group by bucket, service, app, env, team, provider, model, operation, decision, scope_name
),
ranked as (
    select
        *,
        coalesce(input_tokens, 0) + coalesce(output_tokens, 0) as total_tokens,
        sum(total_tokens) over (
            partition by service, model, date_trunc('hour', bucket), scope_name
        ) as told_by_scope
    from sums
),
-- Services that have rows of their own, by the hour.
metered as (
    select service, date_trunc('hour', ts) as hour from usage_events
    union
    select app, date_trunc('hour', bucket) from usage_1m
)
select
    bucket, service, app, env, team, provider, model, operation, decision,
    coalesce(calls, 0)::bigint as calls,
    coalesce(input_tokens, 0)::bigint as input_tokens,
    coalesce(output_tokens, 0)::bigint as output_tokens,
    total_tokens::bigint as total_tokens,
    scope_name as told_by,
    exists (
        select 1
        from metered
        where metered.service is not distinct from ranked.service
            and metered.hour between date_trunc('hour', bucket) - interval 1 hour
                and date_trunc('hour', bucket) + interval 1 hour
    ) as in_events,
    'metric' as source
from ranked
qualify dense_rank() over (
    partition by service, model, date_trunc('hour', bucket)
    order by told_by_scope desc, scope_name <> 'otel_atm', scope_name
) = 1;

-- Files of points whose rows are in the table above, until they are deleted.
create table if not exists drained_points (name varchar not null);
