-- The time of each event: seconds since the epoch, by the wall clock, when the event was appended to its handler's log.
-- Events that are there have none. No row is written, so that a large file opens as fast as a small one.
ALTER TABLE event_log ADD COLUMN time REAL;

DROP VIEW all_events;

-- A NULL of the type of the other half: otherwise SQLite would read all events of all handlers for one.
CREATE VIEW all_events AS
SELECT handler_id, sequence, run_id, internal, data, CAST(NULL AS REAL) AS time FROM events
UNION ALL
SELECT h.handler_id, e.sequence, e.run_id, e.internal, e.data, e.time
FROM handlers AS h CROSS JOIN event_log AS e ON e.number = h.number;
