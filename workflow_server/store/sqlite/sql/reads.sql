-- Each read is one statement. Handlers that are being purged are left out.

-- name: run
SELECT
    h.handler_id, h.workflow_name, coalesce(h.run_id, h.handler_id), h.status,
    coalesce(h.started_at, h.updated_at, 0.0), h.first_sequence, p.start_event, h.alive_since, h.attempts, h.probations,
    coalesce(
        (SELECT max(e.sequence) FROM event_log AS e WHERE e.number = h.number),
        (SELECT max(e.sequence) FROM events AS e WHERE e.handler_id = h.handler_id),
        -1
    ),
    h.queue_sequence,
    (SELECT e.time FROM event_log AS e WHERE e.number = h.number ORDER BY e.sequence DESC LIMIT 1),
    h.released,
    h.code_version
FROM handlers AS h LEFT JOIN payloads AS p ON p.handler_id = h.handler_id
WHERE h.handler_id = :handler_id AND h.purging = 0;

-- name: snapshot
SELECT run_id, seq, data FROM snapshots WHERE run_id = :run_id;

-- name: ticks
SELECT run_id, seq, data FROM ticks WHERE run_id = :run_id AND seq > :after ORDER BY seq;

-- name: state
SELECT run_id, seq, data, tick FROM state_records WHERE run_id = :run_id;

-- name: patches
SELECT run_id, seq, patch, tick FROM state_patches WHERE run_id = :run_id AND seq > :after ORDER BY seq;

-- name: state_of_handler
SELECT
    h.workflow_name, h.run_id, h.status,
    CASE WHEN h.status <> 'running' THEN coalesce(h.completed_at, h.updated_at) END,
    EXISTS (SELECT 1 FROM payloads AS p WHERE p.handler_id = h.handler_id AND p.start_event IS NOT NULL),
    coalesce(h.run_id, h.handler_id),
    (SELECT s.rowid FROM state_records AS s WHERE s.run_id = coalesce(h.run_id, h.handler_id))
FROM handlers AS h
WHERE h.handler_id = :handler_id AND h.purging = 0;

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
    coalesce(requested_at, started_at, updated_at, 0.0),
    (SELECT count(*) FROM inbox AS i WHERE i.run_id = h.run_id AND i.held = 1), trace,
    -- A standing is [waits, retries, stalled]; see Standing.to_json.
    CASE WHEN standing LIKE '[[[%' THEN 'waiting' WHEN standing LIKE '[[],%,true]' THEN 'stalled' END
FROM handlers AS h
WHERE status = 'running' AND purging = 0
ORDER BY coalesce(requested_at, started_at, updated_at, 0.0), handler_id;

-- name: events
SELECT e.sequence, e.internal, e.data, e.time
FROM handlers AS h CROSS JOIN all_events AS e ON e.handler_id = h.handler_id
WHERE h.handler_id = :handler_id AND h.purging = 0 AND e.sequence > :after
ORDER BY e.sequence
LIMIT :limit;

-- name: event_range
SELECT
    h.first_sequence,
    coalesce(
        (SELECT max(e.sequence) FROM event_log AS e WHERE e.number = h.number),
        (SELECT max(e.sequence) FROM events AS e WHERE e.handler_id = h.handler_id),
        h.first_sequence - 1
    ),
    h.queue_sequence,
    (SELECT e.time FROM event_log AS e WHERE e.number = h.number ORDER BY e.sequence DESC LIMIT 1)
FROM handlers AS h
WHERE h.handler_id = :handler_id AND h.purging = 0;

-- The history of a handler: the events of its log, the start of its current run, and the entries beside those. Of an
-- event with more than :whole characters only the end is read, which tells its type. The data of a start, at the place
-- -1, is its start event, a value as those of events.

-- name: history_events
SELECT
    e.sequence, e.run_id, e.time, e.internal, e.took, length(e.data),
    CASE WHEN length(e.data) > :whole THEN substr(e.data, -2000) ELSE e.data END,
    length(e.data) <= :whole AND json_valid(e.data)
FROM handlers AS h CROSS JOIN all_events AS e ON e.handler_id = h.handler_id
WHERE h.handler_id = :handler_id AND h.purging = 0 AND e.sequence > :sequence
ORDER BY e.sequence
LIMIT :limit;

-- name: history_events_back
SELECT
    e.sequence, e.run_id, e.time, e.internal, e.took, length(e.data),
    CASE WHEN length(e.data) > :whole THEN substr(e.data, -2000) ELSE e.data END,
    length(e.data) <= :whole AND json_valid(e.data)
FROM handlers AS h CROSS JOIN all_events AS e ON e.handler_id = h.handler_id
WHERE h.handler_id = :handler_id AND h.purging = 0 AND e.sequence < :sequence
ORDER BY e.sequence DESC
LIMIT :limit;

-- name: history_entries
SELECT
    e.after_sequence, e.place, e.run_id, e.time, e.kind, e.actor,
    CASE WHEN e.place >= 0 OR :with_values THEN e.data END
FROM handlers AS h CROSS JOIN history AS e ON e.number = h.number
WHERE h.handler_id = :handler_id AND h.purging = 0 AND (e.after_sequence, e.place) > (:sequence, :place)
ORDER BY e.after_sequence, e.place
LIMIT :limit;

-- name: history_entries_back
SELECT
    e.after_sequence, e.place, e.run_id, e.time, e.kind, e.actor,
    CASE WHEN e.place >= 0 OR :with_values THEN e.data END
FROM handlers AS h CROSS JOIN history AS e ON e.number = h.number
WHERE h.handler_id = :handler_id AND h.purging = 0 AND (e.after_sequence, e.place) < (:sequence, :place)
ORDER BY e.after_sequence DESC, e.place DESC
LIMIT :limit;

-- name: history_start
SELECT
    workflow_name, first_sequence - 1, coalesce(run_id, handler_id), started_at, started_by,
    CASE WHEN :with_values THEN
        (SELECT p.start_event FROM payloads AS p WHERE p.handler_id = handlers.handler_id)
    END
FROM handlers
WHERE handler_id = :handler_id AND purging = 0;

-- name: standing
SELECT standing FROM handlers WHERE handler_id = :handler_id AND run_id = :run_id AND purging = 0;

-- name: being_deleted
SELECT 1 FROM handlers WHERE handler_id = :handler_id AND purging = 1;

-- name: answer
SELECT handler_id, run_id, body_hash, response FROM answers WHERE scope = :scope AND key = :key;

-- name: handlers_by_id
SELECT
    h.handler_id, h.workflow_name, h.status, h.run_id, h.error, p.result, h.started_at, h.updated_at, h.completed_at,
    h.code_version, h.tags
FROM handlers AS h LEFT JOIN payloads AS p ON p.handler_id = h.handler_id
WHERE h.handler_id IN (SELECT value FROM json_each(:handler_ids))
    AND h.status IN (SELECT value FROM json_each(:statuses))
    AND (:workflow_names IS NULL OR h.workflow_name IN (SELECT value FROM json_each(:workflow_names)))
    AND h.purging = 0
ORDER BY h.started_at, h.handler_id;

-- name: handlers_by_status
SELECT
    h.handler_id, h.workflow_name, h.status, h.run_id, h.error, p.result, h.started_at, h.updated_at, h.completed_at,
    h.code_version, h.tags
FROM handlers AS h LEFT JOIN payloads AS p ON p.handler_id = h.handler_id
WHERE h.status IN (SELECT value FROM json_each(:statuses)) AND h.purging = 0
ORDER BY h.started_at, h.handler_id;

-- name: handlers_by_workflow
SELECT
    h.handler_id, h.workflow_name, h.status, h.run_id, h.error, p.result, h.started_at, h.updated_at, h.completed_at,
    h.code_version, h.tags
FROM handlers AS h LEFT JOIN payloads AS p ON p.handler_id = h.handler_id
WHERE h.status IN (SELECT value FROM json_each(:statuses))
    AND h.workflow_name IN (SELECT value FROM json_each(:workflow_names))
    AND h.purging = 0
ORDER BY h.started_at, h.handler_id;

-- Lists are read in the order of their start, from a place on and up to one. Each is read by an index, so that no page
-- sorts the list, or is found later the further behind it lies; the reader stops where its page is full. The pair is not
-- compared as a row value: SQLite cannot use an index on an expression for that.

-- name: last_handler
SELECT coalesce(started_at, 0.0), handler_id
FROM handlers
WHERE status = :status
ORDER BY coalesce(started_at, 0.0) DESC, handler_id DESC
LIMIT 1;

-- name: handlers_in_order
SELECT
    coalesce(started_at, 0.0), handler_id, workflow_name, status, run_id, error, started_at, updated_at, completed_at,
    code_version, tags
FROM handlers INDEXED BY handlers_in_order
WHERE status = :status
    AND coalesce(started_at, 0.0) BETWEEN :at AND :end_at
    AND (coalesce(started_at, 0.0) > :at OR handler_id > :handler_id)
    AND (coalesce(started_at, 0.0) < :end_at OR handler_id <= :end_id)
    AND purging = 0
ORDER BY coalesce(started_at, 0.0), handler_id;

-- name: handlers_in_reverse
SELECT
    coalesce(started_at, 0.0), handler_id, workflow_name, status, run_id, error, started_at, updated_at, completed_at,
    code_version, tags
FROM handlers INDEXED BY handlers_in_order
WHERE status = :status
    AND coalesce(started_at, 0.0) BETWEEN :end_at AND :at
    AND (coalesce(started_at, 0.0) < :at OR handler_id < :handler_id)
    AND (coalesce(started_at, 0.0) > :end_at OR handler_id >= :end_id)
    AND purging = 0
ORDER BY coalesce(started_at, 0.0) DESC, handler_id DESC;

-- name: handlers_of_workflow_in_order
SELECT
    coalesce(started_at, 0.0), handler_id, workflow_name, status, run_id, error, started_at, updated_at, completed_at,
    code_version, tags
FROM handlers INDEXED BY handlers_by_workflow
WHERE status = :status
    AND workflow_name = :workflow_name
    AND coalesce(started_at, 0.0) BETWEEN :at AND :end_at
    AND (coalesce(started_at, 0.0) > :at OR handler_id > :handler_id)
    AND (coalesce(started_at, 0.0) < :end_at OR handler_id <= :end_id)
    AND purging = 0
ORDER BY coalesce(started_at, 0.0), handler_id;

-- name: handlers_of_workflow_in_reverse
SELECT
    coalesce(started_at, 0.0), handler_id, workflow_name, status, run_id, error, started_at, updated_at, completed_at,
    code_version, tags
FROM handlers INDEXED BY handlers_by_workflow
WHERE status = :status
    AND workflow_name = :workflow_name
    AND coalesce(started_at, 0.0) BETWEEN :end_at AND :at
    AND (coalesce(started_at, 0.0) < :at OR handler_id < :handler_id)
    AND (coalesce(started_at, 0.0) > :end_at OR handler_id >= :end_id)
    AND purging = 0
ORDER BY coalesce(started_at, 0.0) DESC, handler_id DESC;

-- name: tagged_in_order
SELECT
    t.started_at, h.handler_id, h.workflow_name, h.status, h.run_id, h.error, h.started_at, h.updated_at,
    h.completed_at, h.code_version, h.tags
FROM handler_tags AS t CROSS JOIN handlers AS h ON h.handler_id = t.handler_id
WHERE t.tag = :tag
    AND t.started_at BETWEEN :at AND :end_at
    AND (t.started_at > :at OR t.handler_id > :handler_id)
    AND (t.started_at < :end_at OR t.handler_id <= :end_id)
    AND h.purging = 0
ORDER BY t.started_at, t.handler_id;

-- name: tagged_in_reverse
SELECT
    t.started_at, h.handler_id, h.workflow_name, h.status, h.run_id, h.error, h.started_at, h.updated_at,
    h.completed_at, h.code_version, h.tags
FROM handler_tags AS t CROSS JOIN handlers AS h ON h.handler_id = t.handler_id
WHERE t.tag = :tag
    AND t.started_at BETWEEN :end_at AND :at
    AND (t.started_at < :at OR t.handler_id < :handler_id)
    AND (t.started_at > :end_at OR t.handler_id >= :end_id)
    AND h.purging = 0
ORDER BY t.started_at DESC, t.handler_id DESC;

-- name: named_in_order
SELECT
    coalesce(h.started_at, 0.0), h.handler_id, h.workflow_name, h.status, h.run_id, h.error, h.started_at, h.updated_at,
    h.completed_at, h.code_version, h.tags
FROM json_each(:handler_ids) CROSS JOIN handlers AS h ON h.handler_id = json_each.value
WHERE coalesce(h.started_at, 0.0) BETWEEN :at AND :end_at
    AND (coalesce(h.started_at, 0.0) > :at OR h.handler_id > :handler_id)
    AND (coalesce(h.started_at, 0.0) < :end_at OR h.handler_id <= :end_id)
    AND h.purging = 0
ORDER BY coalesce(h.started_at, 0.0), h.handler_id;

-- name: named_in_reverse
SELECT
    coalesce(h.started_at, 0.0), h.handler_id, h.workflow_name, h.status, h.run_id, h.error, h.started_at, h.updated_at,
    h.completed_at, h.code_version, h.tags
FROM json_each(:handler_ids) CROSS JOIN handlers AS h ON h.handler_id = json_each.value
WHERE coalesce(h.started_at, 0.0) BETWEEN :end_at AND :at
    AND (coalesce(h.started_at, 0.0) < :at OR h.handler_id < :handler_id)
    AND (coalesce(h.started_at, 0.0) > :end_at OR h.handler_id >= :end_id)
    AND h.purging = 0
ORDER BY coalesce(h.started_at, 0.0) DESC, h.handler_id DESC;

-- name: handler_counts
SELECT workflow_name, status, count(*) FROM handlers GROUP BY status, workflow_name;

-- name: purging_counts
SELECT workflow_name, status, count(*)
FROM handlers INDEXED BY handlers_purging
WHERE purging = 1
GROUP BY status, workflow_name;

-- Of at most so many unfinished runs, found by an index, each row is read.

-- name: running_versions
SELECT workflow_name, code_version, count(*) AS number
FROM (SELECT workflow_name, code_version FROM handlers WHERE status = 'running' AND purging = 0 LIMIT :most)
GROUP BY workflow_name, code_version
ORDER BY number DESC, workflow_name, code_version
LIMIT :versions;

-- The statistics of a workflow in a period. What ended in it is found by the order of the ends, of all workflows, or among
-- the newest handlers of the workflow: whichever are fewer. Both are counted first, by their indexes alone.

-- name: workflow_handlers
SELECT count(*)
FROM (
    SELECT 1
    FROM handlers INDEXED BY handlers_by_workflow
    WHERE status IN ('running', 'completed', 'failed', 'cancelled') AND workflow_name = :workflow_name
    LIMIT :most
);

-- name: ended_since
SELECT count(*)
FROM (
    SELECT 1
    FROM handlers INDEXED BY handlers_by_end
    WHERE status = 'completed' AND status <> 'running' AND purging = 0
        AND coalesce(completed_at, updated_at, started_at, 0.0) >= :since
    UNION ALL
    SELECT 1
    FROM handlers INDEXED BY handlers_by_end
    WHERE status = 'failed' AND status <> 'running' AND purging = 0
        AND coalesce(completed_at, updated_at, started_at, 0.0) >= :since
    UNION ALL
    SELECT 1
    FROM handlers INDEXED BY handlers_by_end
    WHERE status = 'cancelled' AND status <> 'running' AND purging = 0
        AND coalesce(completed_at, updated_at, started_at, 0.0) >= :since
    LIMIT :most
);

-- name: workflow_running
SELECT count(*)
FROM (
    SELECT 1
    FROM handlers INDEXED BY handlers_by_workflow
    WHERE status = 'running' AND workflow_name = :workflow_name AND purging = 0
    LIMIT :most
);

-- name: workflow_period
-- By bucket: how many started and how many ended with each status; and what each took that completed, in order.
WITH newest AS MATERIALIZED (
    SELECT status, coalesce(started_at, 0.0) AS began_at, coalesce(completed_at, updated_at, started_at, 0.0) AS ended_at
    FROM handlers INDEXED BY handlers_by_workflow
    WHERE status = 'running' AND workflow_name = :workflow_name AND coalesce(started_at, 0.0) >= :began_after
        AND purging = 0
    UNION ALL
    SELECT status, coalesce(started_at, 0.0) AS began_at, coalesce(completed_at, updated_at, started_at, 0.0) AS ended_at
    FROM handlers INDEXED BY handlers_by_workflow
    WHERE status = 'completed' AND workflow_name = :workflow_name AND coalesce(started_at, 0.0) >= :began_after
        AND purging = 0
    UNION ALL
    SELECT status, coalesce(started_at, 0.0) AS began_at, coalesce(completed_at, updated_at, started_at, 0.0) AS ended_at
    FROM handlers INDEXED BY handlers_by_workflow
    WHERE status = 'failed' AND workflow_name = :workflow_name AND coalesce(started_at, 0.0) >= :began_after
        AND purging = 0
    UNION ALL
    SELECT status, coalesce(started_at, 0.0) AS began_at, coalesce(completed_at, updated_at, started_at, 0.0) AS ended_at
    FROM handlers INDEXED BY handlers_by_workflow
    WHERE status = 'cancelled' AND workflow_name = :workflow_name AND coalesce(started_at, 0.0) >= :began_after
        AND purging = 0
    ORDER BY began_at DESC
    LIMIT :most
),
ended AS MATERIALIZED (
    SELECT status, CAST((ended_at - :since) / :width AS INTEGER) AS bucket, max(0.0, ended_at - began_at) AS took
    FROM (
        SELECT status, began_at, ended_at FROM newest WHERE NOT :by_end AND status <> 'running' AND ended_at >= :since
        UNION ALL
        SELECT status, coalesce(started_at, 0.0), coalesce(completed_at, updated_at, started_at, 0.0)
        FROM handlers INDEXED BY handlers_by_end
        WHERE :by_end AND status = 'completed' AND status <> 'running' AND purging = 0
            AND coalesce(completed_at, updated_at, started_at, 0.0) >= :since
            AND workflow_name = :workflow_name
        UNION ALL
        SELECT status, coalesce(started_at, 0.0), coalesce(completed_at, updated_at, started_at, 0.0)
        FROM handlers INDEXED BY handlers_by_end
        WHERE :by_end AND status = 'failed' AND status <> 'running' AND purging = 0
            AND coalesce(completed_at, updated_at, started_at, 0.0) >= :since
            AND workflow_name = :workflow_name
        UNION ALL
        SELECT status, coalesce(started_at, 0.0), coalesce(completed_at, updated_at, started_at, 0.0)
        FROM handlers INDEXED BY handlers_by_end
        WHERE :by_end AND status = 'cancelled' AND status <> 'running' AND purging = 0
            AND coalesce(completed_at, updated_at, started_at, 0.0) >= :since
            AND workflow_name = :workflow_name
    )
    WHERE ended_at < :until
)
SELECT 'started' AS kind, CAST((began_at - :since) / :width AS INTEGER) AS bucket, count(*) AS number
FROM newest
WHERE began_at >= :since AND began_at < :until
GROUP BY bucket
UNION ALL
SELECT status, bucket, count(*) FROM ended GROUP BY status, bucket
UNION ALL
SELECT 'took', bucket, took FROM ended WHERE status = 'completed'
ORDER BY kind, bucket, number;

-- Ended handlers in the order of their ends, up to a place. "status <> 'running'" is what the index says of itself.

-- name: count_ended
SELECT count(*)
FROM handlers INDEXED BY handlers_by_end
WHERE status = :status AND status <> 'running' AND purging = 0
    AND coalesce(completed_at, updated_at, started_at, 0.0) > :after;

-- name: ended_between
SELECT handler_id
FROM handlers INDEXED BY handlers_by_end
WHERE status = :status AND status <> 'running' AND purging = 0
    AND coalesce(completed_at, updated_at, started_at, 0.0) > :after
    AND coalesce(completed_at, updated_at, started_at, 0.0) < :before
LIMIT :limit;

-- name: ended_handlers
SELECT coalesce(completed_at, updated_at, started_at, 0.0), handler_id, run_id
FROM handlers INDEXED BY handlers_by_end
WHERE status = :status AND status <> 'running' AND purging = 0
    AND coalesce(completed_at, updated_at, started_at, 0.0) BETWEEN :after_at AND :until_at
    AND (coalesce(completed_at, updated_at, started_at, 0.0) > :after_at OR handler_id > :after_id)
    AND (coalesce(completed_at, updated_at, started_at, 0.0) < :until_at OR handler_id <= :until_id)
ORDER BY coalesce(completed_at, updated_at, started_at, 0.0), handler_id
LIMIT :limit;

-- name: ended_after
SELECT coalesce(completed_at, updated_at, started_at, 0.0) AS ended_at, handler_id, run_id
FROM handlers INDEXED BY handlers_by_end
WHERE status = 'completed' AND status <> 'running' AND purging = 0
UNION ALL
SELECT coalesce(completed_at, updated_at, started_at, 0.0), handler_id, run_id
FROM handlers INDEXED BY handlers_by_end
WHERE status = 'failed' AND status <> 'running' AND purging = 0
UNION ALL
SELECT coalesce(completed_at, updated_at, started_at, 0.0), handler_id, run_id
FROM handlers INDEXED BY handlers_by_end
WHERE status = 'cancelled' AND status <> 'running' AND purging = 0
ORDER BY ended_at, handler_id
LIMIT 1 OFFSET :others;

-- name: listed_results
-- In the order of the ids, with whether a result is damaged: only an envelope may stand in the JSON of a list.
SELECT
    p.result,
    CASE WHEN json_valid(p.result) THEN
        json_type(p.result, '$.value') IS NOT 'object' OR json_type(p.result, '$.type') IS NOT 'text'
    ELSE p.result IS NOT NULL END
FROM json_each(:handler_ids) LEFT JOIN payloads AS p ON p.handler_id = json_each.value;

-- name: listed_present
-- In the order of the ids: where released runs stand, and the rows of the results of those that completed.
SELECT
    CASE WHEN h.released THEN h.standing END,
    CASE WHEN h.status = 'completed' AND typeof(p.result) = 'text' THEN p.rowid END
FROM json_each(:handler_ids)
LEFT JOIN handlers AS h ON h.handler_id = json_each.value
LEFT JOIN payloads AS p ON p.handler_id = h.handler_id;

-- name: purge_left
SELECT 1 FROM handlers WHERE purging = 1 LIMIT 1;

-- The rows that a purge deletes next, in its order, by their size in bytes.

-- name: purge_events
SELECT length(CAST(e.data AS BLOB))
FROM handlers AS h CROSS JOIN event_log AS e ON e.number = h.number
WHERE h.purging = 1
LIMIT 1100;

-- name: purge_older_events
SELECT length(CAST(e.data AS BLOB))
FROM handlers AS h CROSS JOIN events AS e ON e.handler_id = h.handler_id
WHERE h.purging = 1
LIMIT 1200;

-- name: purge_history
SELECT coalesce(length(CAST(e.data AS BLOB)), 0)
FROM handlers AS h CROSS JOIN history AS e ON e.number = h.number
WHERE h.purging = 1
LIMIT 300;

-- name: purge_ticks
SELECT length(CAST(t.data AS BLOB))
FROM handlers AS h CROSS JOIN ticks AS t ON t.run_id = h.run_id
WHERE h.purging = 1
LIMIT 300;

-- name: purge_patches
SELECT length(CAST(p.patch AS BLOB))
FROM handlers AS h CROSS JOIN state_patches AS p ON p.run_id = h.run_id
WHERE h.purging = 1
LIMIT 200;

-- name: purge_handlers
SELECT
    coalesce(length(CAST(p.start_event AS BLOB)), 0) + coalesce(length(CAST(p.result AS BLOB)), 0)
    + coalesce((SELECT length(CAST(s.data AS BLOB)) FROM snapshots AS s WHERE s.run_id = h.run_id), 0)
    + coalesce((SELECT length(CAST(s.data AS BLOB)) FROM state_records AS s WHERE s.run_id = h.run_id), 0)
    + coalesce((SELECT sum(length(CAST(i.event AS BLOB))) FROM inbox AS i WHERE i.run_id = h.run_id), 0)
FROM handlers AS h LEFT JOIN payloads AS p ON p.handler_id = h.handler_id
WHERE h.purging = 1
LIMIT 100;

-- name: space
SELECT auto_vacuum, freelist_count FROM pragma_auto_vacuum, pragma_freelist_count;

-- name: server
SELECT alive_at, clean_stop FROM server WHERE id = 1;

-- name: last_alive
SELECT alive_at, clock_ahead, uptime, boot FROM server WHERE id = 1;

-- name: last_inbox_id
SELECT coalesce(max(inbox_id), 0) FROM inbox;

-- name: migrations_known
SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'migrations';

-- name: migrations
SELECT number, name, sha256 FROM migrations ORDER BY number;

-- name: schema
-- SQLite keeps no SQL of what it makes itself: an index to each primary key.
SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND type IN ('table', 'view', 'index', 'trigger');

-- name: rules
-- Whatever runs with a write to a table or can refuse it. A foreign key refuses deletions in the table that it names.
SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE type = 'trigger'
UNION ALL
SELECT 'unique index', indexes.name, tbl_name, ''
FROM sqlite_schema JOIN pragma_index_list(tbl_name) AS indexes
WHERE type = 'table' AND indexes.origin = 'c' AND indexes."unique" = 1
UNION ALL
SELECT 'foreign key of', tbl_name, keys."table", ''
FROM sqlite_schema JOIN pragma_foreign_key_list(tbl_name) AS keys
WHERE type = 'table' AND keys.on_delete NOT IN ('CASCADE', 'SET NULL');
