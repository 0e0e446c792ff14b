-- A ledger that processes of one host share. See grants.py for what the numbers mean.

create table ledger (
    name text not null                    -- another one for every file
);

create table budget (
    id       integer primary key,
    identity text not null unique,        -- canonical JSON
    about    text not null                -- the budget as JSON, for operators
);

create table bucket (                     -- one payer of one budget in one window or slot
    id        integer primary key,
    budget    integer not null references budget,
    payer     text not null,              -- canonical JSON
    start_ns  integer not null,
    end_ns    integer not null,
    length_ns integer not null,           -- of a rolling window, else 0
    cap       integer not null,           -- the limit that was said last
    extra     integer not null default 0, -- granted by operators
    epoch     integer not null default 0, -- + 1 with every reset
    granted   integer not null default 0, -- over all nodes, the dead ones too: t
    spent     integer not null default 0, --                                     c
    settled   integer not null default 0, --                                     s
    spare     integer not null default 0, -- how many nodes have credit that they have not spent: n
    told      text not null default '[]', -- levels of the alerts that were told
    gone_ns   integer not null,           -- when it may be forgotten
    version   integer not null default 1, -- + 1 with every change
    unique (budget, payer, start_ns)
);
create index bucket_window on bucket (budget, start_ns);
create index bucket_gone on bucket (gone_ns);

create table lease (                      -- one node's part of one bucket
    bucket  integer not null,
    node    text not null,
    birth   integer not null,
    granted integer not null,             -- g
    spent   integer not null,             -- c
    settled integer not null,             -- s
    seq     integer not null,
    primary key (bucket, node)
) without rowid;
create index lease_node on lease (node);

create table exempt (
    budget   integer not null,
    payer    text not null,
    until_ns integer not null,
    primary key (budget, payer)
) without rowid;

create table buried (                     -- so that nobody is buried twice
    node  text primary key,
    at_ns integer not null                -- by this machine's clock: a node without calls has none
) without rowid;

-- A step writes with one statement, `insert into step`, so that a process in which many threads
-- compete for the interpreter never holds the file's lock while it waits for it. Its document:
--   checks    [identity, payer, first start_ns, last start_ns, what sum(version) + count(*) was]
--   buckets   [identity, about, payer, start_ns, end_ns, length_ns, cap, epoch,
--              granted, spent, settled, spare, told, gone_ns]
--   leases    [identity, payer, start_ns, node, birth, granted, spent, settled, seq]
--   buried    a node that is dead, or null
create view step as select '' as document;

create trigger step_is_made instead of insert on step
begin
    select raise(abort, 'overtaken') from json_each(new.document, '$.checks') as c
    where json_extract(c.value, '$[4]') is not (
        select coalesce(sum(b.version), 0) + count(b.id)
        from budget as g join bucket as b on b.budget = g.id
        where g.identity = json_extract(c.value, '$[0]')
          and b.payer = json_extract(c.value, '$[1]')
          and b.start_ns between json_extract(c.value, '$[2]') and json_extract(c.value, '$[3]')
    );

    select raise(abort, 'buried') from buried
    where node = json_extract(new.document, '$.buried');

    insert into budget (identity, about)
    select json_extract(value, '$[0]'), json_extract(value, '$[1]')
    from json_each(new.document, '$.buckets') where true
    on conflict (identity) do update set about = excluded.about
    where excluded.about not in ('', about);

    insert into bucket (
        budget, payer, start_ns, end_ns, length_ns, cap, epoch,
        granted, spent, settled, spare, told, gone_ns
    )
    select (select id from budget where identity = json_extract(value, '$[0]')),
           json_extract(value, '$[2]'), json_extract(value, '$[3]'), json_extract(value, '$[4]'),
           json_extract(value, '$[5]'), json_extract(value, '$[6]'), json_extract(value, '$[7]'),
           json_extract(value, '$[8]'), json_extract(value, '$[9]'), json_extract(value, '$[10]'),
           json_extract(value, '$[11]'), json_extract(value, '$[12]'), json_extract(value, '$[13]')
    from json_each(new.document, '$.buckets') where true
    on conflict (budget, payer, start_ns) do update set
        cap = excluded.cap, epoch = excluded.epoch, granted = excluded.granted,
        spent = excluded.spent, settled = excluded.settled, spare = excluded.spare,
        told = excluded.told, gone_ns = max(gone_ns, excluded.gone_ns), version = version + 1;

    insert or replace into lease
    select b.id, json_extract(l.value, '$[3]'), json_extract(l.value, '$[4]'),
           json_extract(l.value, '$[5]'), json_extract(l.value, '$[6]'),
           json_extract(l.value, '$[7]'), json_extract(l.value, '$[8]')
    from json_each(new.document, '$.leases') as l
    join budget as g on g.identity = json_extract(l.value, '$[0]')
    join bucket as b on b.budget = g.id and b.payer = json_extract(l.value, '$[1]')
                    and b.start_ns = json_extract(l.value, '$[2]');

    update bucket
    set spare = spare - 1, version = version + 1, granted = granted - (
        select l.granted - l.spent from lease as l
        where l.bucket = bucket.id and l.node = json_extract(new.document, '$.buried')
    )
    where id in (
        select l.bucket from lease as l
        where l.node = json_extract(new.document, '$.buried') and l.granted > l.spent
    );
    delete from lease where node = json_extract(new.document, '$.buried');
    insert into buried
    select json_extract(new.document, '$.buried'), strftime('%s', 'now') * 1000000000
    where json_extract(new.document, '$.buried') is not null;
end;
