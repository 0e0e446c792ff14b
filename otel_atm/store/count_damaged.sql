-- Rows that are not as they were written, those without a head, and heads that are none.
select
    (select count(*) from written where not sound)
    + (select count(*) from written anti join heads using (file_index, head) where sound)
    + (select count(*) from lines where ts_ns is null) - (select count(*) from heads)
