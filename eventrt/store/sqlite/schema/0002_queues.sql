-- Queues and their messages. A queue's messages lie on a shelf; purging a queue gives it a new shelf, and a shelf
-- without a queue is removed in slices. Moments are epoch seconds.

CREATE TABLE queue (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id TEXT NOT NULL,
    region TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at REAL NOT NULL,
    modified_at REAL NOT NULL,
    attributes TEXT NOT NULL,           -- JSON: wire name -> wire value, those that were set
    tags TEXT NOT NULL,                 -- JSON: key -> value
    retention_s INTEGER NOT NULL,       -- parsed from attributes, for the sweeper
    dead_letter_target TEXT,            -- parsed from attributes: the ARN the redrive policy names
    purged_at REAL,
    UNIQUE (account_id, region, name)
);
CREATE INDEX queue_dead_letter_target ON queue (dead_letter_target, name) WHERE dead_letter_target IS NOT NULL;

CREATE TABLE deleted_queue (            -- for "wait 60 seconds after deleting a queue"
    account_id TEXT NOT NULL,
    region TEXT NOT NULL,
    name TEXT NOT NULL,
    deleted_at REAL NOT NULL,
    PRIMARY KEY (account_id, region, name)
) WITHOUT ROWID;

-- The counts are exact as of the last commit. served_rank is the rank last given out (V of the fair order),
-- last_rank the last one of the messages without a group.
CREATE TABLE shelf (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue_id INTEGER,                   -- NULL: abandoned, to be removed
    visible INTEGER NOT NULL DEFAULT 0,
    in_flight INTEGER NOT NULL DEFAULT 0,
    delayed INTEGER NOT NULL DEFAULT 0,
    served_rank INTEGER NOT NULL DEFAULT 0,
    last_rank INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX shelf_queue ON shelf (queue_id);

-- A message never changes once it lies here, so a lease never rewrites a body.
CREATE TABLE message (
    id INTEGER PRIMARY KEY,             -- never used twice, also not after a restart
    shelf_id INTEGER NOT NULL,
    fifo INTEGER NOT NULL,
    rank INTEGER NOT NULL,              -- its first rank; 0 when that was given later (delayed messages)
    sent_at REAL NOT NULL,
    message_id TEXT NOT NULL,
    sender_id TEXT NOT NULL,
    group_id TEXT,
    deduplication_id TEXT,
    dead_letter_source TEXT,            -- the ARN of the queue it was dead-lettered from
    extras BLOB,                        -- MessagePack: attributes, their digest, trace header; NULL when there are none
    body_md5 TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX message_by_age ON message (shelf_id, sent_at);
CREATE INDEX message_by_group ON message (shelf_id, group_id, id) WHERE fifo = 1;

-- What may be received now, in order. On a FIFO queue one row stands for a whole group: its rank and id are those
-- of the group's first message. A row whose message is gone counts for nothing and is removed in passing.
CREATE TABLE ready (
    shelf_id INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    id INTEGER NOT NULL,
    receive_count INTEGER NOT NULL DEFAULT 0,
    first_received_at REAL,
    PRIMARY KEY (shelf_id, rank, id)
) WITHOUT ROWID;

-- What may not be received now. kind 0: delayed; 1: leased by a client; 2: leased by a poller; 3 (FIFO, due_at NULL):
-- leased before and visible again, kept for its receive count.
CREATE TABLE waiting (
    id INTEGER PRIMARY KEY,
    shelf_id INTEGER NOT NULL,
    due_at REAL,
    kind INTEGER NOT NULL,
    rank INTEGER NOT NULL,              -- what it returns with; 0: a new one
    receive_count INTEGER NOT NULL,
    first_received_at REAL,
    leased_at REAL
);
CREATE INDEX waiting_by_due ON waiting (shelf_id, due_at, kind);

-- The last rank of each group with a backlog on a standard queue; of no use once served_rank has passed it.
CREATE TABLE tenant (
    shelf_id INTEGER NOT NULL,
    group_id TEXT NOT NULL,
    last_rank INTEGER NOT NULL,
    PRIMARY KEY (shelf_id, group_id)
) WITHOUT ROWID;

-- The groups of FIFO queues that hold messages: the first message of each, and how many of them are in flight.
CREATE TABLE lane (
    shelf_id INTEGER NOT NULL,
    group_id TEXT NOT NULL,
    head INTEGER NOT NULL,
    in_flight INTEGER NOT NULL,
    PRIMARY KEY (shelf_id, group_id)
) WITHOUT ROWID;

-- Deduplication ids sent within the last 5 minutes, in order of time. scope is the group, or "" for the whole queue.
CREATE TABLE deduplication (
    id INTEGER PRIMARY KEY,
    queue_id INTEGER NOT NULL,
    scope TEXT NOT NULL,
    deduplication_id TEXT NOT NULL,
    sent_at REAL NOT NULL,
    message_id TEXT NOT NULL,
    sequence INTEGER NOT NULL           -- the id of the first message
);
CREATE UNIQUE INDEX deduplication_key ON deduplication (queue_id, scope, deduplication_id);

-- ReceiveRequestAttemptIds of the last 5 minutes and the leases they got.
CREATE TABLE attempt (
    id INTEGER PRIMARY KEY,
    queue_id INTEGER NOT NULL,
    attempt_id TEXT NOT NULL,
    received_at REAL NOT NULL,
    leases TEXT NOT NULL                -- JSON: [[message row, receive count], ...]
);
CREATE UNIQUE INDEX attempt_key ON attempt (queue_id, attempt_id);

CREATE TABLE move_task (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    handle TEXT NOT NULL UNIQUE,
    source_arn TEXT NOT NULL,
    destination_arn TEXT,
    max_per_second INTEGER,
    status TEXT NOT NULL,
    started_at REAL NOT NULL,
    moved INTEGER NOT NULL DEFAULT 0,
    to_move INTEGER NOT NULL,
    failure_reason TEXT
);
CREATE INDEX move_task_source ON move_task (source_arn, id);
CREATE INDEX move_task_active ON move_task (id) WHERE status IN ('RUNNING', 'CANCELLING');
