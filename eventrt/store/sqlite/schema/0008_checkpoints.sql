-- How far each mapping of a stream is in each shard, saved with what its discarded records left behind.
CREATE TABLE checkpoint (
    mapping_id TEXT NOT NULL,
    shard TEXT NOT NULL,
    is_finished INTEGER NOT NULL,
    saved_at REAL NOT NULL,
    progress BLOB NOT NULL,
    PRIMARY KEY (mapping_id, shard)
) WITHOUT ROWID;

-- Up to where retention has emptied a shard, so that a reader who comes too late knows that it missed something; also
-- of a shard that is forgotten, as long as somebody has not finished it.
CREATE TABLE trimmed (
    shard_id INTEGER PRIMARY KEY,
    last_sequence INTEGER NOT NULL
);
CREATE TRIGGER chunk_trimmed AFTER DELETE ON chunk BEGIN
    INSERT INTO trimmed (shard_id, last_sequence) VALUES (OLD.shard_id, OLD.last_sequence)
        ON CONFLICT (shard_id) DO UPDATE SET last_sequence = max(last_sequence, excluded.last_sequence);
END;
CREATE TRIGGER shard_forgotten AFTER DELETE ON shard BEGIN
    DELETE FROM trimmed WHERE shard_id = OLD.id AND NOT EXISTS
        (SELECT 1 FROM checkpoint WHERE is_finished = 0 AND shard LIKE '%@' || OLD.id);
END;
