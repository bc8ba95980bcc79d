-- How many pushed alerts a realm has open is counted for every request that brings new ones.
create index alerts_open_pushed on alerts (realm) where source = 'api' and state <> 'resolved';
