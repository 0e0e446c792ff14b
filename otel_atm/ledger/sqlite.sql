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
    at_ns integer not null
) without rowid;
