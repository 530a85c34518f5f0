-- The way it is so often done: one key for all, and whoever comes second is passed over in silence.
CREATE TABLE moved_notes (
    origin TEXT NOT NULL,
    source_rowid INTEGER NOT NULL,
    id TEXT PRIMARY KEY,
    text TEXT
);
INSERT OR IGNORE INTO moved_notes SELECT 'legacy', rowid, id, text FROM legacy.notes ORDER BY rowid;
INSERT OR IGNORE INTO moved_notes SELECT 'vector', rowid, id, text FROM vector.notes ORDER BY rowid;
