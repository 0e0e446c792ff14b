select
    coalesce(sum(calls) filter (decision <> 'refused'), 0)::bigint as calls,
    coalesce(sum(calls) filter (decision = 'refused'), 0)::bigint as refused,
    coalesce(sum(calls) filter (decision <> 'refused' and status <> 'ok'), 0)::bigint as failed,
    coalesce(sum(input_tokens), 0)::bigint as input_tokens,
    coalesce(sum(output_tokens), 0)::bigint as output_tokens,
    coalesce(sum(cache_read_tokens), 0)::bigint as cache_read_tokens,
    coalesce(sum(cache_write_tokens), 0)::bigint as cache_write_tokens,
    coalesce(sum(reasoning_tokens), 0)::bigint as reasoning_tokens,
    coalesce(sum(total_tokens), 0)::bigint as total_tokens,
    coalesce(sum(total_tokens) filter (estimated), 0)::bigint as estimated_tokens,
    round(sum(cost_usd) * 1e12) / 1e12 as cost_usd,
    coalesce(sum(total_tokens) filter (cost_usd is null), 0)::bigint as unpriced_tokens,
    count(distinct user_id) as users,
    min(ts) as first_ts,
    max(ts) as last_ts
from usage_events
where ($since::timestamp is null or ts >= $since::timestamp)
    and ($until::timestamp is null or ts < $until::timestamp)
