-- How many samples came, per realm and minute of arrival, for the statistics. Minutes that are over an hour old are folded into minute 0.
create table sample_counts (
    realm text not null,
    minute bigint not null,
    count bigint not null,
    primary key (realm, minute)
);
