-- For a Reader of a file with schema 1 that nobody could bring to this version.
create temp view usage_1h as
select
    date_trunc('hour', minutes.bucket) as bucket,
    app, env, team, user_id, provider, model, operation, status, decision,
    sum(calls)::bigint as calls,
    sum(attempts)::bigint as attempts,
    sum(input_tokens)::bigint as input_tokens,
    sum(output_tokens)::bigint as output_tokens,
    sum(cache_read_tokens)::bigint as cache_read_tokens,
    sum(cache_write_tokens)::bigint as cache_write_tokens,
    sum(reasoning_tokens)::bigint as reasoning_tokens,
    sum(total_tokens)::bigint as total_tokens,
    sum(cost_usd::decimal(38, 12))::double as cost_usd
from usage_1m as minutes
group by all;
