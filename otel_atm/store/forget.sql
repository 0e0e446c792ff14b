-- Makes the rows of the user in the variable `person` anonymous; what they amount to stays. Texts of
-- budgets that name the user are in the variable `naming`, `ours` is what attributes we make.

-- No later revision of these rows may bring the user back: this is the highest.
update usage_events
set user_id = null, session_id = null, trace_id = null, span_id = null, tags = [],
    attributes = json_merge_patch('{}', json_object(
        'error.type', attributes::json -> '$."error.type"',
        'requested', attributes::json -> '$.requested',
        'would_refuse', attributes::json -> '$.would_refuse'
    ))::variant,
    revision = 2147483647
where user_id = getvariable('person');

update usage_events set budget = 'forgotten'
where list_contains(getvariable('naming'), budget);

update usage_events
set attributes = json_merge_patch(attributes::json, '{"would_refuse": null}')::variant
where list_contains(getvariable('naming'), attributes::json ->> '$.would_refuse');
