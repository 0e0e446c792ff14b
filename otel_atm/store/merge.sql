-- Makes one row of the parts of a key, in split buckets: all but the newest, and those that have
-- doubled, the oldest first, up to a million rows. Written for minutes; hours are merged in the same way.
create or replace temp table due as
with split as (
    select bucket, sum(added) as added from usage_1m_split group by bucket
),
sizes as (
    select bucket, added, count(*) as size
    from usage_1m_parts join split using (bucket)
    group by all
),
worth as (
    select bucket, sum(size) over (order by bucket) - size as before
    from sizes
    where 2 * added >= size or bucket < (select max(bucket) from split)
)
select bucket from worth where before < 1_000_000;

create or replace temp table merged as
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
    sum(cost_usd) as cost_usd
from usage_1m_parts semi join due using (bucket)
group by all
having sum(calls) <> 0 or sum(attempts) <> 0 or sum(total_tokens) <> 0 or sum(cost_usd) <> 0;

delete from usage_1m_parts where bucket in (from due);

delete from usage_1m_split where bucket in (from due);

insert into usage_1m_parts from merged order by bucket;

drop table merged;

drop table due;
