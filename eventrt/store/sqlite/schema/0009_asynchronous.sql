-- Asynchronous events, by function: a lane each. Moments are epoch seconds.

CREATE TABLE async_lane (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id TEXT,                    -- NULL: given up with its function, to be cleared
    region TEXT,
    name TEXT,
    UNIQUE (account_id, region, name)
);
CREATE INDEX async_lane_given_up ON async_lane (id) WHERE account_id IS NULL;

-- An event never changes once it lies here, so a retry never rewrites a payload.
CREATE TABLE async_event (
    id INTEGER PRIMARY KEY,
    accepted_at REAL NOT NULL,
    request_id TEXT NOT NULL,
    qualifier TEXT,                     -- as it was invoked: NULL for the unqualified name
    trace_header TEXT NOT NULL,
    payload BLOB NOT NULL
);

-- When each event is due, and what its attempts so far left. A row is here exactly as long as its event.
CREATE TABLE async_due (
    lane INTEGER NOT NULL,
    due_at REAL NOT NULL,
    id INTEGER NOT NULL,
    executed INTEGER NOT NULL DEFAULT 0,
    refused INTEGER NOT NULL DEFAULT 0,
    last BLOB,                          -- MessagePack: core.asynchronous.LastAttempt; NULL before the first attempt
    PRIMARY KEY (lane, due_at, id)
) WITHOUT ROWID;

CREATE TABLE event_invoke_config (
    account_id TEXT NOT NULL,
    region TEXT NOT NULL,
    name TEXT NOT NULL,
    qualifier TEXT NOT NULL,
    document TEXT NOT NULL,             -- JSON: core.event_invoke.EventInvokeConfig
    PRIMARY KEY (account_id, region, name, qualifier)
) WITHOUT ROWID;
