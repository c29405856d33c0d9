-- The history of handlers. Their event logs already tell when steps begin and end, and what is published; this table
-- has the rest: attempts that failed, waits, releases, resumes, and what clients ask for.
--
-- after_sequence, place: an entry stands behind this event of its handler's log, and behind the entries there with a
-- smaller place. The start of a run has the place -1.
-- actor: the name of the token that asked for it.
-- data: what else there is to say, as JSON.
CREATE TABLE history (
    number INTEGER NOT NULL REFERENCES handlers (number),
    after_sequence INTEGER NOT NULL,
    place INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    time REAL,
    kind TEXT NOT NULL,
    actor TEXT,
    data TEXT,
    PRIMARY KEY (number, after_sequence, place)
) STRICT, WITHOUT ROWID;

CREATE VIEW all_history AS
SELECT h.handler_id, e.after_sequence, e.place, e.run_id, e.time, e.kind, e.actor, e.data
FROM handlers AS h CROSS JOIN history AS e ON e.number = h.number;

-- Who started a handler's current run: the name of the token, where it has one.
ALTER TABLE handlers ADD COLUMN started_by TEXT;

-- The seconds that a step took, in the event that tells of its end.
ALTER TABLE event_log ADD COLUMN took REAL;

DROP VIEW all_events;

CREATE VIEW all_events AS
SELECT handler_id, sequence, run_id, internal, data, CAST(NULL AS REAL) AS time, CAST(NULL AS REAL) AS took FROM events
UNION ALL
SELECT h.handler_id, e.sequence, e.run_id, e.internal, e.data, e.time, e.took
FROM handlers AS h CROSS JOIN event_log AS e ON e.number = h.number;
