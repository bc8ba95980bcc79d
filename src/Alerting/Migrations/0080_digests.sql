-- The days of which the digest was written: once each, whatever the number of replicas.
create table digests (
    day        date primary key,
    written_at timestamptz not null
);
