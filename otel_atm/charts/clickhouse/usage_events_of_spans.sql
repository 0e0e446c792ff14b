-- The columns of usage_events, from the table that the collector's ClickHouse exporter writes: one row
-- for each call, however many instrumentations made a span of it and however often a batch was sent.
-- Reads the attributes that semconv.py names; of two names the newer comes first. What a span does
-- not know: an estimate (a call that reported no usage has no tokens), calls of atm.admit(), the
-- corrections of later revisions. Refusals that repeat have a row each.
create view if not exists usage_events_of_spans as
with
    (attributes, names) -> arrayFirst(x -> x != '', arrayMap(n -> attributes[n], names)) as first_of,
    (attributes, names) -> greatest(0, toInt64OrZero(first_of(attributes, names))) as count_of,
    spans as (
        select
            Timestamp as started,
            Duration as lasted_ns,
            TraceId as in_trace,
            SpanId as span,
            ServiceName as named_service,
            CAST(SpanAttributes, 'Map(String, String)') as a,
            CAST(ResourceAttributes, 'Map(String, String)') as r,
            multiIf(
                a['gen_ai.operation.name'] != '', a['gen_ai.operation.name'],
                a['openinference.span.kind'] = 'LLM', 'chat',
                a['openinference.span.kind'] = 'EMBEDDING', 'embeddings',
                ''
            ) as did,
            a['atm.call_id'] as call_id,
            arrayElement(splitByChar('.', a['error.type']), -1) as error,
            multiIf(
                error in ('CancelledError', 'GeneratorExit', 'KeyboardInterrupt'), 'cancelled',
                a['error.type'] != '' or lower(StatusCode) in ('error', 'status_code_error'), 'error',
                'ok'
            ) as ended,
            a['atm.decision'] = 'refused' or error = 'TokenQuotaExceeded' as is_refused,
            count_of(a, [
                'gen_ai.usage.input_tokens', 'gen_ai.usage.prompt_tokens', 'llm.token_count.prompt'
            ]) as given,
            count_of(a, [
                'gen_ai.usage.output_tokens', 'gen_ai.usage.completion_tokens',
                'llm.token_count.completion'
            ]) as made,
            count_of(a, [
                'gen_ai.usage.cache_read.input_tokens', 'gen_ai.usage.cache_read_input_tokens',
                'llm.token_count.prompt_details.cache_read'
            ]) as cached,
            count_of(a, [
                'gen_ai.usage.cache_write.input_tokens', 'gen_ai.usage.cache_creation.input_tokens',
                'gen_ai.usage.cache_creation_input_tokens', 'llm.token_count.prompt_details.cache_write'
            ]) as written,
            count_of(a, [
                'gen_ai.usage.reasoning.output_tokens', 'gen_ai.usage.reasoning_tokens',
                'gen_ai.usage.details.reasoning_tokens', 'llm.token_count.completion_details.reasoning'
            ]) as thought
        from otel_traces
        where call_id != '' or did in ('chat', 'text_completion', 'generate_content', 'embeddings')
    ),
    calls as (
        select
            if(call_id != '', call_id, concat(in_trace, '-', span)) as id,
            min(started) as first_started,
            -- The outermost is the span that opened the call.
            argMin((in_trace, span, ended, did), (started, -lasted_ns)) as opened,
            max(lasted_ns) as longest_ns,
            max(is_refused) as refused,
            max(a['atm.decision']) as decided,
            max(a['atm.budget.name']) as by_budget,
            max(toFloat64OrZero(a['gen_ai.response.time_to_first_chunk'])) as first_chunk_s,
            max(if(a['atm.service'] != '', a['atm.service'], named_service)) as from_service,
            max(a['atm.app']) as in_app,
            max(first_of(mapConcat(r, a), [
                'atm.env', 'deployment.environment.name', 'deployment.environment'
            ])) as in_env,
            max(a['atm.team']) as in_team,
            max(first_of(a, ['atm.user', 'user.id', 'enduser.id'])) as who,
            max(first_of(a, ['atm.session', 'session.id', 'gen_ai.conversation.id'])) as in_session,
            max(first_of(a, [
                'gen_ai.provider.name', 'gen_ai.system', 'llm.provider', 'llm.system'
            ])) as asked,
            max(first_of(a, [
                'gen_ai.request.model', 'gen_ai.response.model', 'llm.model_name',
                'embedding.model_name'
            ])) as with_model,
            -- A part that is larger than its whole was left out of it.
            max(given + if(given < cached + written, cached + written, 0)) as tokens_in,
            max(made + if(made < thought, thought, 0)) as tokens_out,
            max(cached) as tokens_read,
            max(written) as tokens_written,
            max(thought) as tokens_thought,
            max(a['atm.tags']) as tagged,
            max(a['error.type']) as error_type,
            argMin(mapFilter(
                (k, v) -> startsWith(k, 'atm.') and k not in (
                    'atm.call_id', 'atm.decision', 'atm.budget.name', 'atm.tags', 'atm.user',
                    'atm.team', 'atm.app', 'atm.env', 'atm.session', 'atm.service'
                ), a
            ), started) as own
        from spans
        group by id
    )
select
    id as event_id,
    toDateTime64(first_started, 6, 'UTC') as ts,
    nullIf(opened.1, '') as trace_id,
    nullIf(opened.2, '') as span_id,
    if(refused, null, toInt64(intDiv(longest_ns, 1000))) as duration_us,
    if(first_chunk_s > 0, toInt64(first_chunk_s * 1e6), null) as ttft_us,
    if(startsWith(from_service, 'unknown_service'), null, nullIf(from_service, '')) as service,
    if(in_app != '', in_app, service) as app,
    nullIf(in_env, '') as env,
    nullIf(in_team, '') as team,
    nullIf(who, '') as user_id,
    nullIf(in_session, '') as session_id,
    nullIf(asked, '') as provider,
    nullIf(with_model, '') as model,
    nullIf(opened.4, '') as operation,
    if(refused, 'error', opened.3) as status,
    multiIf(refused, 'refused', decided = '', 'allowed', decided) as decision,
    nullIf(by_budget, '') as budget,
    toInt64(1) as calls,
    toInt64(if(refused, 0, 1)) as attempts,
    tokens_in as input_tokens,
    tokens_out as output_tokens,
    tokens_read as cache_read_tokens,
    tokens_written as cache_write_tokens,
    tokens_thought as reasoning_tokens,
    tokens_in + tokens_out as total_tokens,
    multiIf(
        total_tokens = 0, 0,
        price.model = '', null,
        (
            greatest(0, tokens_in - tokens_read - tokens_written) * price.input
            + tokens_read * price.cache_read + tokens_written * price.cache_write
            + tokens_out * price.output
        ) / 1e6
    ) as cost_usd,
    if(price.model = '', null, 'model_prices') as price_version,
    false as estimated,
    'span' as source,
    JSONExtract(tagged, 'Array(String)') as tags,
    toJSONString(mapConcat(
        mapApply((k, v) -> (substring(k, 5), v), own),
        if(error_type != '', map('error.type', error_type), map())
    )) as attributes,
    toInt32(0) as revision
from calls
left join (select * from model_prices final) as price on price.model = calls.with_model;
