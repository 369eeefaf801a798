-- What the store knows of itself: `clock` is the last moment a daemon saw (epoch seconds).
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
