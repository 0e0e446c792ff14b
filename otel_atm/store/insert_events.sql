insert into usage_events by name
select
    event_id, ts,
    if(trace_high > 0 or trace_low > 0, hex16(trace_high) || hex16(trace_low), null) as trace_id,
    if(span > 0, hex16(span), null) as span_id,
    case when duration_ns >= 0 and duration_ns < 31622400000000000  -- a leap year
        then duration_ns // 1000 end as duration_us,
    ttft_us, service, app, env, team, user_id, session_id,
    provider, model, operation, status, decision, budget, calls, attempts,
    input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens,
    input_tokens + output_tokens as total_tokens,
    cost_usd, price_version, estimated, source, tags, attributes, revision
from incoming
