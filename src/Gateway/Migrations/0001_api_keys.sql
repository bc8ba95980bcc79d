-- Credentials of people and applications. The key itself is never stored: it carries 256 random bits, so a plain hash of it cannot be
-- reversed or guessed, and finding it is one index lookup.
create table api_keys (
    id           uuid primary key,
    name         text not null,
    role         text not null check (role in ('user', 'moderator', 'admin', 'auditor')),
    realm        text not null,
    scopes       text[] not null,
    key_hash     bytea not null unique check (length(key_hash) = 32),
    key_prefix   text not null,
    created_at   timestamptz not null,
    created_by   text not null,
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz
);

create index api_keys_realm on api_keys (realm, id);

-- Every gateway forgets what it remembers of keys as soon as one of them changes. Being used is not a change.
create function api_keys_notify() returns trigger language plpgsql as $$
begin
    perform pg_notify('api_keys', '');
    return null;
end
$$;

create trigger api_keys_notify
    after insert or delete or update of role, realm, scopes, key_hash, expires_at, revoked_at on api_keys
    for each statement execute function api_keys_notify();

-- Requests that were answered 401 or 403, folded per credential (or address), route and minute.
create table denials (
    id         uuid primary key,
    at         timestamptz not null,
    realm      text not null,
    actor      text not null,
    actor_role text not null,
    address    text,
    route      text not null,
    status     int not null,
    count      int not null
);

create index denials_at on denials (at);
