-- Each read is one statement. A handler that is being purged is not there.

-- name: run
SELECT
    h.handler_id, h.workflow_name, coalesce(h.run_id, h.handler_id), h.status,
    coalesce(h.started_at, h.updated_at, 0.0), h.first_sequence, p.start_event, h.alive_since, h.attempts, h.probations,
    coalesce((SELECT max(e.sequence) FROM events AS e WHERE e.handler_id = h.handler_id), -1)
FROM handlers AS h LEFT JOIN payloads AS p ON p.handler_id = h.handler_id
WHERE h.handler_id = :handler_id AND h.purging = 0;

-- name: snapshot
SELECT run_id, seq, data FROM snapshots WHERE run_id = :run_id;

-- name: ticks
SELECT run_id, seq, data FROM ticks WHERE run_id = :run_id AND seq > :after ORDER BY seq;

-- name: state
SELECT run_id, seq, data FROM state_records WHERE run_id = :run_id;

-- name: patches
SELECT run_id, seq, patch FROM state_patches WHERE run_id = :run_id AND seq > :after ORDER BY seq;

-- name: inbox
SELECT inbox_id, handler_id, run_id, event, step, event_type, size, early, hold, held
FROM inbox WHERE run_id = :run_id ORDER BY inbox_id;

-- name: inbox_load
SELECT coalesce(sum(early = 0), 0), coalesce(sum(early), 0), coalesce(sum(size), 0) FROM inbox WHERE run_id = :run_id;

-- name: untaken_events
SELECT event_type, step FROM inbox WHERE run_id = :run_id ORDER BY inbox_id;

-- name: running_runs
SELECT
    handler_id, workflow_name, coalesce(run_id, handler_id), coalesce(started_at, updated_at, 0.0), released, wake_at,
    alive_since, attempts, probations, EXISTS (SELECT 1 FROM inbox AS i WHERE i.run_id = h.run_id AND i.held = 0),
    (SELECT count(*) FROM inbox AS i WHERE i.run_id = h.run_id AND i.held = 1)
FROM handlers AS h
WHERE status = 'running' AND purging = 0
ORDER BY started_at, handler_id;

-- name: events
SELECT e.sequence, e.internal, e.data
FROM handlers AS h CROSS JOIN events AS e ON e.handler_id = h.handler_id
WHERE h.handler_id = :handler_id AND h.purging = 0 AND e.sequence > :after
ORDER BY e.sequence
LIMIT :limit;

-- name: event_range
SELECT
    h.first_sequence,
    coalesce((SELECT max(e.sequence) FROM events AS e WHERE e.handler_id = h.handler_id), h.first_sequence - 1),
    h.queue_sequence
FROM handlers AS h
WHERE h.handler_id = :handler_id AND h.purging = 0;

-- name: answer
SELECT handler_id, run_id, body_hash, response FROM answers WHERE scope = :scope AND key = :key;

-- name: handlers_by_id
SELECT
    h.handler_id, h.workflow_name, h.status, h.run_id, h.error, p.result, h.started_at, h.updated_at, h.completed_at
FROM handlers AS h LEFT JOIN payloads AS p ON p.handler_id = h.handler_id
WHERE h.handler_id IN (SELECT value FROM json_each(:handler_ids))
    AND h.status IN (SELECT value FROM json_each(:statuses))
    AND (:workflow_names IS NULL OR h.workflow_name IN (SELECT value FROM json_each(:workflow_names)))
    AND h.purging = 0
ORDER BY h.started_at, h.handler_id;

-- name: handlers_by_status
SELECT
    h.handler_id, h.workflow_name, h.status, h.run_id, h.error, p.result, h.started_at, h.updated_at, h.completed_at
FROM handlers AS h LEFT JOIN payloads AS p ON p.handler_id = h.handler_id
WHERE h.status IN (SELECT value FROM json_each(:statuses)) AND h.purging = 0
ORDER BY h.started_at, h.handler_id;

-- name: handlers_by_workflow
SELECT
    h.handler_id, h.workflow_name, h.status, h.run_id, h.error, p.result, h.started_at, h.updated_at, h.completed_at
FROM handlers AS h LEFT JOIN payloads AS p ON p.handler_id = h.handler_id
WHERE h.status IN (SELECT value FROM json_each(:statuses))
    AND h.workflow_name IN (SELECT value FROM json_each(:workflow_names))
    AND h.purging = 0
ORDER BY h.started_at, h.handler_id;

-- name: purge_left
SELECT 1 FROM handlers WHERE purging = 1 LIMIT 1;

-- name: server
SELECT alive_at, clean_stop FROM server WHERE id = 1;

-- name: last_inbox_id
SELECT coalesce(max(inbox_id), 0) FROM inbox;

-- name: migrations_known
SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'migrations';

-- name: migrations
SELECT number, name, sha256 FROM migrations ORDER BY number;

-- name: schema
-- Of what SQLite makes itself, an index to each primary key, it keeps no SQL.
SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND type IN ('table', 'index');
