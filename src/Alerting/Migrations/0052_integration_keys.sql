-- Routing keys of PagerDuty senders. The key is the credential, so only its hash is kept; it belongs to one realm.
create table integration_keys (
    id           uuid primary key,
    realm        text not null,
    name         text not null,
    key_hash     bytea not null unique,
    created_by   text not null,
    created_at   timestamptz not null,
    last_used_at timestamptz,
    revoked_at   timestamptz
);

create unique index integration_keys_name on integration_keys (realm, name) where revoked_at is null;
create index integration_keys_page on integration_keys (created_at desc, id desc);
