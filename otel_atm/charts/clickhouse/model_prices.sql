-- Spans carry no cost. Prices that you put here give one to usage_events_of_spans; a model that is not
-- here has a cost of NULL. In USD for a million tokens; input is what is neither read from the cache
-- nor written to it.
create table if not exists model_prices (
    model String,
    input Float64,
    output Float64,
    cache_read Float64 default input,
    cache_write Float64 default input
)
engine = ReplacingMergeTree
order by model;
