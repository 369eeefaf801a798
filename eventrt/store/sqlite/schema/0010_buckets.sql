-- Buckets, their objects, and uploads in parts. Moments are epoch seconds.

CREATE TABLE bucket (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,          -- one namespace over all accounts and regions
    account_id TEXT NOT NULL,
    region TEXT NOT NULL,
    created_at REAL NOT NULL,
    versioning TEXT NOT NULL,
    has_object_lock INTEGER NOT NULL,
    folder TEXT NOT NULL,
    settings BLOB NOT NULL              -- MessagePack: document name -> document
);

-- A version of an object, or a delete marker. The id orders writes. Keys compare by their UTF-8 bytes, as S3 lists.
-- What a listing shows stands before the body, so that long bodies (on overflow pages) are not read for it.
CREATE TABLE object (
    id INTEGER PRIMARY KEY,
    bucket_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    version_id TEXT NOT NULL,           -- '': the null version
    is_current INTEGER NOT NULL,
    is_marker INTEGER NOT NULL,
    modified_at REAL NOT NULL,
    noncurrent_since REAL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    head BLOB NOT NULL,                 -- MessagePack: headers, metadata, tags, checksum, lock, ...
    layout BLOB,                        -- MessagePack: extents and parts; NULL when the body is here, or a file
    body BLOB
);
CREATE UNIQUE INDEX object_current ON object (bucket_id, key) WHERE is_current = 1;
CREATE INDEX object_past ON object (bucket_id, key, id DESC) WHERE is_current = 0;
CREATE INDEX object_null ON object (bucket_id, key) WHERE is_current = 0 AND version_id = '';

CREATE TABLE upload (
    id TEXT PRIMARY KEY,
    bucket_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    started_at REAL NOT NULL,
    account_id TEXT NOT NULL,
    checksum_algorithm TEXT NOT NULL,
    checksum_type TEXT NOT NULL,
    draft BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX upload_key ON upload (bucket_id, key, id);

CREATE TABLE upload_part (
    upload_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    checksum TEXT NOT NULL,
    modified_at REAL NOT NULL,
    extents BLOB NOT NULL,
    PRIMARY KEY (upload_id, number)
) WITHOUT ROWID;

-- Files that bodies are kept in, and how many stretches of objects and parts lie in each.
CREATE TABLE blob (
    name TEXT PRIMARY KEY,
    uses INTEGER NOT NULL
) WITHOUT ROWID;

