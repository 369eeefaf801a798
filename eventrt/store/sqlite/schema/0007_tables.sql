-- Tables: their definition, their items, the entries of their indexes, and what expires when.
CREATE TABLE table_definition (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id TEXT NOT NULL,
    region TEXT NOT NULL,
    name TEXT NOT NULL,
    definition TEXT NOT NULL,
    is_filling INTEGER NOT NULL DEFAULT 0,
    next_index INTEGER NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX table_name ON table_definition (account_id, region, name);
CREATE INDEX table_filling ON table_definition (id) WHERE is_filling;

-- partition_key begins with eight bytes of the key's digest: scans go in that order. item is JSON, as the wire has it.
CREATE TABLE item (
    table_id INTEGER NOT NULL,
    partition_key BLOB NOT NULL,
    sort_key BLOB NOT NULL,
    size_bytes INTEGER NOT NULL,
    item BLOB NOT NULL,
    PRIMARY KEY (table_id, partition_key, sort_key)
) WITHOUT ROWID;

CREATE TABLE index_entry (
    table_id INTEGER NOT NULL,
    index_id INTEGER NOT NULL,
    partition_key BLOB NOT NULL,
    sort_key BLOB NOT NULL,
    item_partition_key BLOB NOT NULL,
    item_sort_key BLOB NOT NULL,
    PRIMARY KEY (table_id, index_id, partition_key, sort_key, item_partition_key, item_sort_key)
) WITHOUT ROWID;

-- How much a table (index_id 0) or an index holds.
CREATE TABLE table_count (
    table_id INTEGER NOT NULL,
    index_id INTEGER NOT NULL,
    item_count INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    PRIMARY KEY (table_id, index_id)
) WITHOUT ROWID;

CREATE TABLE item_expiry (
    expires_at INTEGER NOT NULL,
    table_id INTEGER NOT NULL,
    partition_key BLOB NOT NULL,
    sort_key BLOB NOT NULL,
    PRIMARY KEY (expires_at, table_id, partition_key, sort_key)
) WITHOUT ROWID;
CREATE INDEX item_expiry_of_table ON item_expiry (table_id);

-- Tables (index_id 0) and indexes that are gone and whose rows are still to be removed.
CREATE TABLE table_garbage (
    table_id INTEGER NOT NULL,
    index_id INTEGER NOT NULL,
    PRIMARY KEY (table_id, index_id)
) WITHOUT ROWID;

-- Change streams that were disabled: they can be read until then.
CREATE TABLE table_stream_end (
    stream_id INTEGER PRIMARY KEY,
    ends_at REAL NOT NULL
);
CREATE INDEX table_stream_end_moment ON table_stream_end (ends_at);

-- ClientRequestToken of transactions: the request's digest, kept for ten minutes.
CREATE TABLE transaction_token (
    account_id TEXT NOT NULL,
    region TEXT NOT NULL,
    token TEXT NOT NULL,
    digest BLOB NOT NULL,
    expires_at REAL NOT NULL,
    PRIMARY KEY (account_id, region, token)
) WITHOUT ROWID;
CREATE INDEX transaction_token_expiry ON transaction_token (expires_at);
