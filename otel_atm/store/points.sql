-- Takes the files of points named by the variable `points` into their table, in one transaction.
insert into metric_points by name
select
    make_timestamp(time_ns // 1000) as time,
    case when start_ns > 0 then make_timestamp(start_ns // 1000) end as start_time,
    * exclude (time_ns, start_ns)
        replace (attributes::variant as attributes, resource::variant as resource)
from read_json(
    getvariable('points'),
    format = 'newline_delimited', auto_detect = false,
    columns = {
        'time_ns': 'bigint', 'start_ns': 'bigint', 'name': 'varchar', 'unit': 'varchar',
        'kind': 'varchar', 'temporality': 'varchar', 'monotonic': 'boolean', 'value': 'double',
        'count': 'bigint', 'sum': 'double', 'min': 'double', 'max': 'double',
        'bounds': 'double[]', 'bucket_counts': 'bigint[]', 'scale': 'integer',
        'zero_count': 'bigint', 'positive_offset': 'integer', 'positive_counts': 'bigint[]',
        'negative_offset': 'integer', 'negative_counts': 'bigint[]',
        'quantiles': 'double[]', 'quantile_values': 'double[]', 'attributes': 'json',
        'service': 'varchar', 'scope_name': 'varchar', 'scope_version': 'varchar',
        'resource': 'json', 'series': 'varchar', 'writer': 'varchar'
    }
);
