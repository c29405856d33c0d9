-- Which migrations made this database, and from which bytes.
CREATE TABLE migrations (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    applied_at REAL NOT NULL
) STRICT;

-- One row: the life of the server itself.
CREATE TABLE server (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    alive_at REAL,
    clean_stop INTEGER NOT NULL DEFAULT 1 CHECK (clean_stop IN (0, 1))
) STRICT;

INSERT INTO server (id) VALUES (1);

-- The durable record of each started workflow, with its current run. Only short values stand here: SQLite
-- writes a row anew at each change of it, and several of these columns change often.
CREATE TABLE handlers (
    handler_id TEXT NOT NULL PRIMARY KEY,
    workflow_name TEXT NOT NULL,
    run_id TEXT UNIQUE,
    status TEXT NOT NULL CHECK (status IN ('running', 'completed', 'failed', 'cancelled')),
    error TEXT,
    started_at REAL,
    updated_at REAL,
    completed_at REAL,
    first_sequence INTEGER NOT NULL DEFAULT 0,
    queue_sequence INTEGER NOT NULL DEFAULT 0,
    alive_since REAL,
    wake_at REAL,
    released INTEGER NOT NULL DEFAULT 0 CHECK (released IN (0, 1)),
    attempts INTEGER NOT NULL DEFAULT 0,
    probations INTEGER NOT NULL DEFAULT 0,
    purging INTEGER NOT NULL DEFAULT 0 CHECK (purging IN (0, 1))
) STRICT;

CREATE INDEX handlers_by_status ON handlers (status, workflow_name, started_at);

CREATE INDEX handlers_purging ON handlers (handler_id) WHERE purging = 1;

-- The long values of a handler's current run.
CREATE TABLE payloads (
    handler_id TEXT NOT NULL PRIMARY KEY REFERENCES handlers (handler_id) ON DELETE CASCADE,
    start_event TEXT,
    result TEXT
) STRICT;

-- The event log of a handler, over all of its runs.
CREATE TABLE events (
    handler_id TEXT NOT NULL REFERENCES handlers (handler_id),
    sequence INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    internal INTEGER NOT NULL CHECK (internal IN (0, 1)),
    data TEXT NOT NULL,
    PRIMARY KEY (handler_id, sequence)
) STRICT, WITHOUT ROWID;

-- The journal of each running run.
CREATE TABLE ticks (
    run_id TEXT NOT NULL REFERENCES handlers (run_id),
    seq INTEGER NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE snapshots (
    run_id TEXT NOT NULL PRIMARY KEY REFERENCES handlers (run_id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    data TEXT NOT NULL
) STRICT;

-- What ctx.store holds: a full record, and the patches since.
CREATE TABLE state_records (
    run_id TEXT NOT NULL PRIMARY KEY REFERENCES handlers (run_id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    data TEXT NOT NULL
) STRICT;

CREATE TABLE state_patches (
    run_id TEXT NOT NULL REFERENCES handlers (run_id),
    seq INTEGER NOT NULL,
    patch TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
) STRICT, WITHOUT ROWID;

-- Events that clients posted and that their run has not taken yet.
CREATE TABLE inbox (
    inbox_id INTEGER PRIMARY KEY,
    handler_id TEXT NOT NULL,
    run_id TEXT NOT NULL REFERENCES handlers (run_id) ON DELETE CASCADE,
    event TEXT NOT NULL,
    step TEXT
) STRICT;

CREATE INDEX inbox_by_run ON inbox (run_id, inbox_id);

-- The first answer to each idempotency key.
CREATE TABLE answers (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    handler_id TEXT NOT NULL REFERENCES handlers (handler_id) ON DELETE CASCADE,
    run_id TEXT NOT NULL,
    body_hash TEXT NOT NULL,
    response TEXT NOT NULL,
    answered_at REAL NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX answers_by_handler ON answers (handler_id);
