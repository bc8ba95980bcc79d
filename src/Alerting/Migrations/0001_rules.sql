-- What events mean. Realm '*' applies to every realm, each on its own.
create table rules (
    id             uuid primary key,
    realm          text not null,
    name           text not null,
    description    text not null,
    match          jsonb not null,
    threshold      int not null check (threshold > 0),
    window_seconds int not null check (window_seconds > 0),
    group_by       text[] not null,
    severity       text not null check (severity in ('critical', 'high', 'medium', 'low', 'info')),
    enabled        boolean not null,
    created_by     text not null,
    created_at     timestamptz not null,
    updated_at     timestamptz not null,
    version        int not null default 1,
    unique (realm, name)
);

create index rules_created on rules (created_at, id);

-- One row. Evaluation reads the version in its own transaction and loads the rules again when it moved.
create table rules_version (
    version       bigint not null,
    defaults_made boolean not null
);

insert into rules_version values (0, false);

-- Here and not in the service, so that no way of changing a rule can forget it.
create function rules_changed() returns trigger language plpgsql as $$
begin
    update rules_version set version = version + 1;
    return null;
end
$$;

create trigger rules_changed after insert or update or delete on rules for each statement execute function rules_changed();
