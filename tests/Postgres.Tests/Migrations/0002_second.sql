update migrated set value = value + 1;
