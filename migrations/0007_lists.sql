-- Lists of the handlers of a workflow are read in the order of their start, too, page by page: each is found where the
-- last one ended. The index holds all that it takes to count handlers.
DROP INDEX handlers_by_status;

CREATE INDEX handlers_by_workflow ON handlers (status, workflow_name, coalesce(started_at, 0.0), handler_id);

-- The tags that a client gave a handler: as a JSON array in its row, and one by one in the order of the handlers' starts.
ALTER TABLE handlers ADD COLUMN tags TEXT;

CREATE TABLE handler_tags (
    tag TEXT NOT NULL,
    started_at REAL NOT NULL,
    handler_id TEXT NOT NULL REFERENCES handlers (handler_id) ON DELETE CASCADE,
    PRIMARY KEY (tag, started_at, handler_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX handler_tags_by_handler ON handler_tags (handler_id);
