-- Records about one target. Target ids are up to 1,000 characters long and an index entry is not: the beginning finds, the whole decides.
create index audit_records_target on audit_records (left(target_id, 200), realm, seq) where target_id is not null;

-- The stretch of a chain between two times.
create index audit_records_recorded on audit_records (realm, recorded_at, seq);
