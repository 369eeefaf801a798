-- Functions. `latest` and `serving` are FunctionVersion values as JSON (serving only while an update is in
-- progress: what invocations still run), `policy` the resource policy's statements as JSON. The other columns
-- repeat what queries ask for; `archive` and `serving_archive` name kept archives (NULL for declared folders).
CREATE TABLE functions (
    account_id TEXT NOT NULL,
    region TEXT NOT NULL,
    name TEXT NOT NULL,
    latest BLOB NOT NULL,
    serving BLOB,
    policy BLOB,
    archive TEXT,
    serving_archive TEXT,
    code_bytes INTEGER NOT NULL,
    reserved_concurrency INTEGER,
    in_transition INTEGER NOT NULL,
    PRIMARY KEY (account_id, region, name)
) WITHOUT ROWID;

CREATE INDEX functions_usage ON functions (account_id, region, code_bytes, reserved_concurrency);
CREATE INDEX functions_archive ON functions (archive) WHERE archive IS NOT NULL;
CREATE INDEX functions_serving_archive ON functions (serving_archive) WHERE serving_archive IS NOT NULL;
CREATE INDEX functions_in_transition ON functions (in_transition) WHERE in_transition = 1;
