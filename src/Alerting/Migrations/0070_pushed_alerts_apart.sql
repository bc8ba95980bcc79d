-- What another system pushes may stand beside an alert of the platform with the same labels: neither ends, hides or rewrites the other.
drop index alerts_open;
create unique index alerts_open on alerts (realm, fingerprint, (source = 'api')) where state <> 'resolved';
