-- From the roll-up, so a month costs little. A minute belongs to the range if it begins in it, the
-- minute of `since` included.
select
    time_bucket(to_seconds($width_s), usage_1m.bucket) as bucket,
    model,
    sum(calls)::bigint as calls,
    sum(input_tokens)::bigint as input_tokens,
    sum(output_tokens)::bigint as output_tokens,
    sum(total_tokens)::bigint as total_tokens
from usage_1m
where decision <> 'refused'
    and ($since::timestamp is null or usage_1m.bucket >= date_trunc('minute', $since::timestamp))
    and ($until::timestamp is null or usage_1m.bucket < $until::timestamp)
group by all
order by bucket, model nulls last
