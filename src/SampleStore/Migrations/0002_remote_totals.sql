-- With the samples in another engine: counters that come as increments, by a hash of their labels. Times as in sample_totals.
create table remote_totals (
    series  text primary key,
    total   double precision not null,
    at      bigint not null,
    once_at bigint not null
);
