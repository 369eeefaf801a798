-- Streams of both kinds: Kinesis's, and the change streams of tables.
CREATE TABLE stream (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id TEXT NOT NULL,
    region TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    label TEXT NOT NULL DEFAULT '',
    settings TEXT NOT NULL,
    settles_at REAL,
    next_sequence INTEGER NOT NULL DEFAULT 1,
    next_shard INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX stream_name ON stream (account_id, region, kind, name, label);
CREATE INDEX stream_settles ON stream (settles_at) WHERE settles_at IS NOT NULL;

CREATE TABLE shard (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    stream_id INTEGER NOT NULL,
    shard_index INTEGER NOT NULL,
    starting_hash_key TEXT NOT NULL,
    ending_hash_key TEXT NOT NULL,
    parent INTEGER,
    adjacent_parent INTEGER,
    first_sequence INTEGER NOT NULL,
    last_sequence INTEGER,
    opened_at REAL NOT NULL,
    closed_at REAL
);
CREATE UNIQUE INDEX shard_of_stream ON shard (stream_id, shard_index);

-- One row holds the records that one request put into one shard: their sequence numbers follow each other, and they
-- arrived together. Rows are only ever added at the end; the index answers every question about positions by itself.
CREATE TABLE chunk (
    id INTEGER PRIMARY KEY,
    shard_id INTEGER NOT NULL,
    first_sequence INTEGER NOT NULL,
    last_sequence INTEGER NOT NULL,
    arrived_at REAL NOT NULL,
    records BLOB NOT NULL
);
CREATE UNIQUE INDEX chunk_of_shard ON chunk (shard_id, first_sequence, last_sequence, arrived_at);

CREATE TABLE consumer (
    stream_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    created_at REAL NOT NULL,
    arn TEXT NOT NULL,
    policy TEXT,
    tags TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (stream_id, name)
) WITHOUT ROWID;
CREATE UNIQUE INDEX consumer_arn ON consumer (arn);

-- What is set on an account's streams as a whole.
CREATE TABLE stream_account (
    account_id TEXT NOT NULL,
    region TEXT NOT NULL,
    settings TEXT NOT NULL,
    PRIMARY KEY (account_id, region)
) WITHOUT ROWID;
