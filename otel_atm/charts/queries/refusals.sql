select
    budget,
    team,
    user_id,
    sum(calls)::bigint as refused,
    max(ts) as last_ts
from usage_events
where decision = 'refused'
    and ($since::timestamp is null or ts >= $since::timestamp)
    and ($until::timestamp is null or ts < $until::timestamp)
group by budget, team, user_id
order by refused desc, budget nulls last, team nulls last, user_id nulls last
