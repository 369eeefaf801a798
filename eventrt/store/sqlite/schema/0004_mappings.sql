-- Event source mappings: the whole value as JSON, and beside it the columns it is found by.
CREATE TABLE mappings (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    account_id TEXT NOT NULL,
    region TEXT NOT NULL,
    source_arn TEXT NOT NULL,
    function_arn TEXT NOT NULL,
    unqualified_function_arn TEXT NOT NULL,
    in_transition INTEGER NOT NULL,
    document TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX mappings_by_pair ON mappings (source_arn, function_arn);
CREATE INDEX mappings_by_place ON mappings (account_id, region, position);
CREATE INDEX mappings_by_source ON mappings (account_id, region, source_arn, position);
CREATE INDEX mappings_by_function ON mappings (account_id, region, unqualified_function_arn, position);
CREATE INDEX mappings_in_transition ON mappings (position) WHERE in_transition = 1;
