-- Rows of the file that an incoming row of the same id meets; see "replace_repeats".
create or replace temp table known as
select usage_events.event_id, usage_events.ts, usage_events.revision
from usage_events join whole using (ts, event_id);

create or replace temp table replaced as select * from usage_events where false;

select (select count(*) from known), (select count(*) - count(distinct event_id) from whole);
