select
    team,
    user_id,
    model,
    coalesce(sum(calls) filter (decision <> 'refused'), 0)::bigint as calls,
    coalesce(sum(calls) filter (decision = 'refused'), 0)::bigint as refused,
    sum(input_tokens)::bigint as input_tokens,
    sum(output_tokens)::bigint as output_tokens,
    sum(cache_read_tokens)::bigint as cache_read_tokens,
    sum(total_tokens)::bigint as total_tokens,
    coalesce(sum(total_tokens) filter (estimated), 0)::bigint as estimated_tokens,
    round(sum(cost_usd) * 1e12) / 1e12 as cost_usd
from usage_events
where ($since::timestamp is null or ts >= $since::timestamp)
    and ($until::timestamp is null or ts < $until::timestamp)
group by team, user_id, model
order by team nulls last, user_id nulls last, model nulls last
