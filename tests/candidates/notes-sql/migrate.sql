-- Root's own notes stay; those of legacy and of vector come beside them, each with where it was.
CREATE TABLE moved_notes (
    origin TEXT NOT NULL,
    source_rowid INTEGER NOT NULL,
    id TEXT,
    text TEXT,
    PRIMARY KEY (origin, source_rowid)
);
INSERT INTO moved_notes SELECT 'legacy', rowid, id, text FROM legacy.notes ORDER BY rowid;
INSERT INTO moved_notes SELECT 'vector', rowid, id, text FROM vector.notes ORDER BY rowid;
