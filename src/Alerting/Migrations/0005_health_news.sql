-- The newest health news of each component that was handled. News may overtake each other on the bus; without this, old news that comes
-- late would raise an alert that nothing ends. One row for each component that was ever checked.
create table health_news (
    realm     text not null,
    component text not null,
    at        timestamptz not null,
    primary key (realm, component)
);
