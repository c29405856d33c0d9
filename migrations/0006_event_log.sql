-- The ids of handlers are random: a log that is kept by them is written all over a large file, a page an event. Each
-- handler gets a number, which rises, and what it publishes from now on is kept by that, in one place at the end.
--
-- Nothing is moved, so that a large file opens as fast as a small one: events that are there stay in the table events.
--
-- log_begins: the sequence before which all events of the handler are in that table.
ALTER TABLE handlers ADD COLUMN number INTEGER;
ALTER TABLE handlers ADD COLUMN log_begins INTEGER NOT NULL DEFAULT 0;

UPDATE handlers SET
    number = rowid,
    log_begins = coalesce(
        (SELECT max(e.sequence) + 1 FROM events AS e WHERE e.handler_id = handlers.handler_id), 0
    )
WHERE status = 'running';

CREATE UNIQUE INDEX handlers_by_number ON handlers (number);

CREATE TABLE event_log (
    number INTEGER NOT NULL REFERENCES handlers (number),
    sequence INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    internal INTEGER NOT NULL CHECK (internal IN (0, 1)),
    data TEXT NOT NULL,
    PRIMARY KEY (number, sequence)
) STRICT, WITHOUT ROWID;

-- All events, by the ids of their handlers.
CREATE VIEW all_events AS
SELECT handler_id, sequence, run_id, internal, data FROM events
UNION ALL
SELECT h.handler_id, e.sequence, e.run_id, e.internal, e.data
FROM handlers AS h CROSS JOIN event_log AS e ON e.number = h.number;
