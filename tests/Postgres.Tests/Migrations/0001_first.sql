create table migrated (value int not null); insert into migrated values (1);
