-- Merges what came into the roll-ups. Written for minutes; hours are merged in the same way.
set variable added_from = (select min(bucket) from added_1m);

set variable added_to = (select max(bucket) from added_1m);

-- A cost is a whole number of pico-USD while it is added up, so that a correction cancels to the last
-- digit (up to 2,000 USD in a row, and then to the last of a double).
merge into usage_1m as kept
using added_1m as added
on kept.bucket = added.bucket
    and kept.bucket between getvariable('added_from') and getvariable('added_to')
    and kept.app is not distinct from added.app
    and kept.env is not distinct from added.env
    and kept.team is not distinct from added.team
    and kept.user_id is not distinct from added.user_id
    and kept.provider is not distinct from added.provider
    and kept.model is not distinct from added.model
    and kept.operation is not distinct from added.operation
    and kept.status = added.status
    and kept.decision = added.decision
when matched and kept.calls + added.calls = 0 and kept.attempts + added.attempts = 0
    and kept.total_tokens + added.total_tokens = 0
then delete
when matched then update set
    calls = kept.calls + added.calls,
    attempts = kept.attempts + added.attempts,
    input_tokens = kept.input_tokens + added.input_tokens,
    output_tokens = kept.output_tokens + added.output_tokens,
    cache_read_tokens = kept.cache_read_tokens + added.cache_read_tokens,
    cache_write_tokens = kept.cache_write_tokens + added.cache_write_tokens,
    reasoning_tokens = kept.reasoning_tokens + added.reasoning_tokens,
    total_tokens = kept.total_tokens + added.total_tokens,
    cost_usd = coalesce(
        (round(kept.cost_usd * 1e12) + added.cost_pico) / 1e12, kept.cost_usd, added.cost_pico / 1e12
    )
when not matched and (added.calls <> 0 or added.attempts <> 0 or added.total_tokens <> 0)
then insert values (
    added.bucket, added.app, added.env, added.team, added.user_id, added.provider, added.model,
    added.operation, added.status, added.decision, added.calls, added.attempts,
    added.input_tokens, added.output_tokens, added.cache_read_tokens, added.cache_write_tokens,
    added.reasoning_tokens, added.total_tokens, added.cost_pico / 1e12
);
