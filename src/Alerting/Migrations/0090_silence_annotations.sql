-- What other tools keep with a silence. The version before neither writes nor reads it.
alter table silences add column annotations jsonb not null default '{}';
