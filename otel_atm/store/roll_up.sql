-- What came, by minutes and hours, without what it replaced. Costs are of the very number that is in
-- the file, so that both are the same.
create or replace temp table added_1m as
with numbers as (  -- few of them, so that texts are compared only for those
    select
        date_trunc('minute', ts) as bucket, file_index, head, count(*) as rows,
        sum(input_tokens)::bigint as input_tokens,
        sum(output_tokens)::bigint as output_tokens,
        sum(cache_read_tokens)::bigint as cache_read_tokens,
        sum(cache_write_tokens)::bigint as cache_write_tokens,
        sum(reasoning_tokens)::bigint as reasoning_tokens,
        sum(round(cost_usd * 1e12)) as cost_pico
    from incoming
    group by all
),
signed as (
    select
        bucket, app, env, team, user_id, provider, model, operation, status, decision,
        rows * calls as calls, rows * attempts as attempts, input_tokens, output_tokens,
        cache_read_tokens, cache_write_tokens, reasoning_tokens,
        input_tokens + output_tokens as total_tokens, cost_pico
    from numbers join heads using (file_index, head)
    union all by name
    select
        date_trunc('minute', ts) as bucket, app, env, team, user_id, provider, model, operation, status, decision,
        -calls as calls,
        -attempts as attempts,
        -input_tokens as input_tokens,
        -output_tokens as output_tokens,
        -cache_read_tokens as cache_read_tokens,
        -cache_write_tokens as cache_write_tokens,
        -reasoning_tokens as reasoning_tokens,
        -total_tokens as total_tokens,
        -round(cost_usd * 1e12) as cost_pico
    from replaced
)
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
    sum(cost_pico) as cost_pico
from signed
where bucket >= getvariable('rollups_since')
group by all;

create or replace temp table added_1h as
select
    date_trunc('hour', bucket) as bucket,
    columns(* exclude (bucket, calls, attempts, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, total_tokens, cost_pico)),
    sum(calls)::bigint as calls,
    sum(attempts)::bigint as attempts,
    sum(input_tokens)::bigint as input_tokens,
    sum(output_tokens)::bigint as output_tokens,
    sum(cache_read_tokens)::bigint as cache_read_tokens,
    sum(cache_write_tokens)::bigint as cache_write_tokens,
    sum(reasoning_tokens)::bigint as reasoning_tokens,
    sum(total_tokens)::bigint as total_tokens,
    sum(cost_pico) as cost_pico
from added_1m
group by all;
