-- Input includes the cache and output includes reasoning: take the parts out, so that nothing is
-- there twice.
select
    model,
    sum(input_tokens - cache_read_tokens - cache_write_tokens)::bigint as fresh_input_tokens,
    sum(cache_read_tokens)::bigint as cache_read_tokens,
    sum(cache_write_tokens)::bigint as cache_write_tokens,
    sum(output_tokens - reasoning_tokens)::bigint as answer_tokens,
    sum(reasoning_tokens)::bigint as reasoning_tokens
from usage_events
where decision <> 'refused'
    and ($since::timestamp is null or ts >= $since::timestamp)
    and ($until::timestamp is null or ts < $until::timestamp)
group by model
order by model nulls last
