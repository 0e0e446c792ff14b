-- Of all rows of one event, in the file and incoming, the highest revision stays; of equal ones that
-- in the file, else any.
delete from lines
where rowid in (
    select line
    from (
        select line, event_id, revision, row_number() over (
            partition by event_id order by revision desc
        ) as place
        from whole join heads using (file_index, head)
    ) as ranked left join known using (event_id)
    where place > 1 or ranked.revision <= known.revision
);

delete from known where event_id not in (select event_id from incoming);

insert into replaced
select usage_events.* from usage_events join known using (ts, event_id);

delete from usage_events using known
where usage_events.ts = known.ts and usage_events.event_id = known.event_id;
