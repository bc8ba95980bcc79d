-- Every series that has samples. Ids come in ranges that a replica takes for itself, so that making a series costs no round trip.
create sequence series_ids increment by 10000;

create table series (
    id       bigint primary key,
    -- The first half of SHA-256 over labels: two replicas that meet the same new series agree on one row.
    hash     uuid not null,
    realm    text not null,
    -- The metric's name, so that series that have left memory are found without reading all of them.
    name     text not null,
    -- Length and bytes of each name and value in turn, sorted by name; see FORMAT.md.
    labels   bytea not null,
    -- A day since 1970-01-01 on which the series was still written to, never later than the last one. Retention goes by it.
    last_day int not null
);

create unique index series_hash on series (hash);
create index series_name on series (name, realm);

-- The log: one row per commit, with all of its samples. Rows live until the compactor has turned them into chunks.
create table sample_batches (
    -- Says to those who follow the log whether the row was visible at an earlier moment.
    txid    xid8 not null default pg_current_xact_id(),
    id      bigint generated always as identity,
    -- By which the replica that wrote the row knows it again.
    token   uuid not null,
    at      timestamptz not null default now(),
    samples int not null,
    bytes   bytea not null,
    primary key (txid, id)
);

-- The bytes are compressed already.
alter table sample_batches alter column bytes set storage external;

-- Samples of one series and day, mostly all of them in one row. One partition per day (UTC), dropped whole when it leaves retention.
-- Rows of one series may overlap; readers merge them, and of two samples with one time that of the earlier compaction counts.
create table sample_chunks (
    series_id  bigint not null,
    -- Milliseconds since 1970-01-01 of the first sample, and from there to the last one.
    start_at   bigint not null,
    span       int not null,
    compaction int not null,
    bytes      bytea not null
) partition by range (start_at);

create index sample_chunks_series on sample_chunks (series_id, start_at);
alter table sample_chunks alter column bytes set storage external;

-- What compactions did, for those who follow: samples of all batches with a lower txid became chunks of days between the times.
create table sample_compactions (
    id       int generated always as identity primary key,
    before   xid8 not null,
    batches  int not null,
    min_time bigint not null,
    max_time bigint not null,
    at       timestamptz not null default now()
);

-- The days that have chunks, the time of their last sample, and how many compactions have touched them since they were last put in order.
create table sample_days (
    day      int primary key,
    max_time bigint not null,
    rounds   int not null
);

-- Counters that come as increments. Times are those of the last sample, and of the last increment that its sender may repeat.
create table sample_totals (
    series_id bigint primary key,
    total     double precision not null,
    at        bigint not null,
    once_at   bigint not null
);

create table metric_metadata (
    realm  text not null,
    family text not null,
    type   text not null,
    help   text not null,
    unit   text not null,
    primary key (realm, family)
);

-- Requests that carried an Idempotency-Key.
create table sample_keys (
    subject    text not null,
    key        text not null,
    body_hash  bytea not null,
    written    int not null,
    created_at timestamptz not null default now(),
    primary key (subject, key)
);

create index sample_keys_created_at on sample_keys (created_at);
