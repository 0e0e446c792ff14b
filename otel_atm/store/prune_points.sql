-- Deletes points of metrics from before the variable `until`. Of a cumulative series that goes on, the
-- last one stays: what came after is told as the difference to it.
delete from metric_points
where time < getvariable('until') and not (
    coalesce(temporality = 'cumulative', false)
    and (writer, series, coalesce(start_time, '-infinity'), time) in (
        select writer, series, coalesce(start_time, '-infinity') as started, max(time)
        from metric_points
        where time < getvariable('until')
            and (writer, series, coalesce(start_time, '-infinity')) in (
                select (writer, series, coalesce(start_time, '-infinity'))
                from metric_points
                where time >= getvariable('until')
            )
        group by writer, series, started
    )
);
