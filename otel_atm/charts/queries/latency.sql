select
    model,
    count(duration_us) as calls,
    quantile_cont(duration_us, 0.5) / 1000 as p50_ms,
    quantile_cont(duration_us, 0.95) / 1000 as p95_ms,
    quantile_cont(ttft_us, 0.5) / 1000 as first_chunk_p50_ms,
    quantile_cont(ttft_us, 0.95) / 1000 as first_chunk_p95_ms
from usage_events
where decision <> 'refused'
    and status = 'ok'
    and duration_us is not null
    and ($since::timestamp is null or ts >= $since::timestamp)
    and ($until::timestamp is null or ts < $until::timestamp)
group by model
order by model nulls last
