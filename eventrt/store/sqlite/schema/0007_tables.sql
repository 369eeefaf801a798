-- Tables: their definition, their items, the entries of their indexes, and what expires when.
CREATE TABLE table_definition (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id TEXT NOT NULL,
    region TEXT NOT NULL,
    name TEXT NOT NULL,
    definition TEXT NOT NULL,
    next_index INTEGER NOT NULL DEFAULT 1,
    item_count INTEGER NOT NULL DEFAULT 0,
    size_bytes INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX table_name ON table_definition (account_id, region, name);

-- partition_key begins with eight bytes of the key's digest: scans go in that order.
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

CREATE TABLE item_expiry (
    expires_at INTEGER NOT NULL,
    table_id INTEGER NOT NULL,
    partition_key BLOB NOT NULL,
    sort_key BLOB NOT NULL,
    PRIMARY KEY (expires_at, table_id, partition_key, sort_key)
) WITHOUT ROWID;

-- ClientRequestToken of transactions: the request's digest and the answer, kept for ten minutes.
CREATE TABLE transaction_token (
    account_id TEXT NOT NULL,
    region TEXT NOT NULL,
    token TEXT NOT NULL,
    digest BLOB NOT NULL,
    expires_at REAL NOT NULL,
    PRIMARY KEY (account_id, region, token)
) WITHOUT ROWID;
CREATE INDEX transaction_token_expiry ON transaction_token (expires_at);
