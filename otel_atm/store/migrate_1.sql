-- From schema 1, whose minutes were one table of changes and a view that added all of them up.
insert into usage_1m
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
    round(sum(cost_usd) * 1e12) / 1e12 as cost_usd
from usage_1m_changes
group by all
having sum(calls) <> 0 or sum(attempts) <> 0 or sum(total_tokens) <> 0
order by bucket;

insert into usage_1h
select
    date_trunc('hour', bucket), * exclude (bucket) replace (
        sum(calls) as calls,
        sum(attempts) as attempts,
        sum(input_tokens) as input_tokens,
        sum(output_tokens) as output_tokens,
        sum(cache_read_tokens) as cache_read_tokens,
        sum(cache_write_tokens) as cache_write_tokens,
        sum(reasoning_tokens) as reasoning_tokens,
        sum(total_tokens) as total_tokens,
        round(sum(cost_usd) * 1e12) / 1e12 as cost_usd
    )
from usage_1m
group by all
order by 1;

drop table usage_1m_changes;
