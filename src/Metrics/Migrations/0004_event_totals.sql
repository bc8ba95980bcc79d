-- How many events with an action ever came, by realm, action and outcome: what the counters of the exposition are made of. Unlike
-- event_counts these rows are never deleted, because a counter never falls. Words of the vocabulary only, so there are few rows.
create table event_totals (
    realm   text not null,
    action  text not null,
    outcome text not null,
    total   bigint not null,
    primary key (realm, action, outcome)
);

insert into event_totals (realm, action, outcome, total)
select realm, action, outcome, sum(count)::bigint from event_counts where action <> '' group by realm, action, outcome;
