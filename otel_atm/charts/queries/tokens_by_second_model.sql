-- For buckets of less than a minute; see tokens_by_minute_model.
select
    time_bucket(to_seconds($width_s), ts) as bucket,
    model,
    sum(calls)::bigint as calls,
    sum(input_tokens)::bigint as input_tokens,
    sum(output_tokens)::bigint as output_tokens,
    sum(total_tokens)::bigint as total_tokens
from usage_events
where decision <> 'refused'
    and ($since::timestamp is null or ts >= $since::timestamp)
    and ($until::timestamp is null or ts < $until::timestamp)
group by all
order by bucket, model nulls last
