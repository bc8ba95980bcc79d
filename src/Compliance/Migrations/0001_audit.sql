-- One hash chain per realm. The row here is its head: whoever appends holds it locked, so that replicas append strictly one after the other.
create table audit_chains (
    realm       text primary key,
    seq         bigint not null,
    hash        bytea not null,
    recorded_at timestamptz not null
);

-- The chain itself. Personal values are not here: only their keyed commitments are, and those mean nothing once the key is gone.
create table audit_records (
    realm          text not null,
    seq            bigint not null,
    id             uuid not null,
    at             timestamptz not null,
    recorded_at    timestamptz not null,
    action         text not null,
    target_type    text not null,
    target_id      text,
    actor_role     text not null,
    outcome        text not null,
    count          int not null,
    correlation_id text,
    trace_id       text,
    details        jsonb not null,
    commitments    jsonb not null,
    prev_hash      bytea not null,
    hash           bytea not null,
    primary key (realm, seq)
);

create index audit_records_id on audit_records (id);
create index audit_records_realm_at on audit_records (realm, at, id);
create index audit_records_at on audit_records (at, id);

create function audit_records_are_forever() returns trigger language plpgsql as $$
begin
    raise exception 'audit_records only grows: % is refused', lower(tg_op);
end
$$;

create trigger audit_records_are_forever before update or delete or truncate on audit_records
    for each statement execute function audit_records_are_forever();

-- One random key per person and realm. Erasing a person destroys the key and forgets whose it was; the row stays as evidence that it happened.
create table subject_keys (
    id           uuid primary key,
    realm        text not null,
    lookup       bytea,
    sealed       bytea,
    created_at   timestamptz not null,
    destroyed_at timestamptz,
    check ((destroyed_at is null) = (lookup is not null and sealed is not null))
);

create unique index subject_keys_lookup on subject_keys (realm, lookup) where destroyed_at is null;
create index subject_keys_destroyed on subject_keys (destroyed_at) where destroyed_at is not null;

-- The personal values, each encrypted under its person's key. Apart from the chain, because these rows go when the person is erased:
-- what stays in the chain no longer says which records were about the same person.
create table audit_personal (
    realm  text not null,
    seq    bigint not null,
    field  text not null,
    key_id uuid not null,
    sealed bytea not null,
    primary key (realm, seq, field)
);

create index audit_personal_key on audit_personal (key_id);

-- Heads as they were signed: what the chain must still contain, whatever happened to it since.
create table audit_heads (
    realm     text not null,
    seq       bigint not null,
    hash      bytea not null,
    count     bigint not null,
    at        timestamptz not null,
    key_id    text not null,
    signature bytea not null,
    primary key (realm, seq)
);

-- Keys of the service itself, encrypted with the platform's key ring: the one that signs heads, and the one that finds a subject's key.
create table service_keys (
    name       text primary key,
    public_key bytea,
    sealed     bytea not null,
    created_at timestamptz not null
);

-- Who read audit data in which minute, so that reading leaves one record a minute and not one per page.
create table audit_reads (
    reader   bytea not null,
    endpoint text not null,
    minute   timestamptz not null,
    primary key (reader, endpoint, minute)
);

create index audit_reads_minute on audit_reads (minute);
