-- The statements of each record, under its name; the parameters are its fields.

-- name: RunStarted
-- Continuing a handler removes all records of the run before but its events and its history, which keeps its start with
-- the start event.
DELETE FROM ticks WHERE run_id IN (SELECT run_id FROM handlers WHERE handler_id = :handler_id);
DELETE FROM snapshots WHERE run_id IN (SELECT run_id FROM handlers WHERE handler_id = :handler_id);
DELETE FROM state_records WHERE run_id IN (SELECT run_id FROM handlers WHERE handler_id = :handler_id);
DELETE FROM state_patches WHERE run_id IN (SELECT run_id FROM handlers WHERE handler_id = :handler_id);
DELETE FROM inbox WHERE run_id IN (SELECT run_id FROM handlers WHERE handler_id = :handler_id);
INSERT INTO history (number, after_sequence, place, run_id, time, kind, actor, data)
SELECT
    number, first_sequence - 1, -1, run_id, started_at, 'started', started_by,
    (SELECT p.start_event FROM payloads AS p WHERE p.handler_id = handlers.handler_id)
FROM handlers
WHERE handler_id = :handler_id AND run_id IS NOT NULL AND run_id <> :run_id AND number IS NOT NULL
ON CONFLICT DO NOTHING;
INSERT INTO handlers (
    handler_id, workflow_name, run_id, status, started_at, updated_at, requested_at, first_sequence, queue_sequence,
    number, started_by, code_version, trace
) VALUES (
    :handler_id, :workflow_name, :run_id, 'running', :started_at, :started_at, :requested_at, :first_sequence,
    :first_sequence, (SELECT coalesce(max(number), 0) + 1 FROM handlers), :by, :code_version, :trace
)
ON CONFLICT (handler_id) DO UPDATE SET
    workflow_name = excluded.workflow_name,
    run_id = excluded.run_id,
    status = 'running',
    error = NULL,
    started_at = excluded.started_at,
    updated_at = excluded.updated_at,
    completed_at = NULL,
    requested_at = excluded.requested_at,
    first_sequence = excluded.first_sequence,
    queue_sequence = excluded.queue_sequence,
    number = coalesce(number, excluded.number),
    started_by = excluded.started_by,
    code_version = excluded.code_version,
    trace = excluded.trace,
    alive_since = NULL,
    wake_at = NULL,
    released = 0,
    standing = NULL,
    attempts = 0,
    probations = 0;
INSERT INTO payloads (handler_id, start_event) VALUES (:handler_id, :start_event)
ON CONFLICT (handler_id) DO UPDATE SET start_event = excluded.start_event, result = NULL, traceback = NULL;

UPDATE handler_tags SET started_at = :started_at WHERE handler_id = :handler_id;

-- name: HandlerStarted
-- The same record where the handler is new: refused where it is there, so that all of the above is done.
INSERT INTO handlers (
    handler_id, workflow_name, run_id, status, started_at, updated_at, requested_at, first_sequence, queue_sequence,
    number, started_by, code_version, trace
) VALUES (
    :handler_id, :workflow_name, :run_id, 'running', :started_at, :started_at, :requested_at, :first_sequence,
    :first_sequence, (SELECT coalesce(max(number), 0) + 1 FROM handlers), :by, :code_version, :trace
);
INSERT INTO payloads (handler_id, start_event) VALUES (:handler_id, :start_event);

-- name: HandlerTagged
DELETE FROM handler_tags WHERE handler_id = :handler_id;
UPDATE handlers SET tags = :tags WHERE handler_id = :handler_id;
INSERT INTO handler_tags (tag, started_at, handler_id)
SELECT DISTINCT json_each.value, coalesce(h.started_at, 0.0), h.handler_id
FROM handlers AS h CROSS JOIN json_each(:tags)
WHERE h.handler_id = :handler_id;

-- name: RunBegan
UPDATE handlers
SET alive_since = :alive_since, updated_at = max(coalesce(updated_at, started_at, :began_at), :began_at)
WHERE handler_id = :handler_id AND run_id = :run_id AND status = 'running';

-- name: RunReleased
UPDATE handlers SET released = 1, wake_at = :wake_at, standing = :standing
WHERE handler_id = :handler_id AND run_id = :run_id AND status = 'running';

-- name: RunLoaded
UPDATE handlers SET released = 0, wake_at = NULL, standing = NULL
WHERE handler_id = :handler_id AND run_id = :run_id AND status = 'running';

-- name: RunEnded
-- The first end decides, and a second one is refused (see the schema). Without a result the payload stays as it is: the
-- row holds the start event, too, and a cancellation on a full disk should write little. The wall clock may have been
-- set back since the run began. The journal of a run that did not complete stays for a retry.
UPDATE payloads SET result = :result, traceback = :traceback
WHERE handler_id = :handler_id AND (:result IS NOT NULL OR :traceback IS NOT NULL) AND EXISTS (
    SELECT 1 FROM handlers WHERE handler_id = :handler_id AND run_id = :run_id AND status = 'running'
);
UPDATE handlers
SET
    status = :status,
    error = :error,
    updated_at = max(coalesce(started_at, :ended_at), :ended_at),
    completed_at = max(coalesce(started_at, :ended_at), :ended_at),
    wake_at = NULL,
    released = 0,
    standing = NULL
WHERE handler_id = :handler_id AND run_id = :run_id;
DELETE FROM ticks WHERE run_id = :run_id AND :status = 'completed';
DELETE FROM snapshots WHERE run_id = :run_id AND :status = 'completed';
DELETE FROM inbox WHERE run_id = :run_id;

-- name: RunAttempted
UPDATE handlers SET attempts = :attempts, probations = :probations
WHERE handler_id = :handler_id AND run_id = :run_id AND status = 'running';

-- name: TickAppended
-- Ignored where the run has ended: nothing would ever remove it. For an unknown run it fails at the foreign key.
INSERT INTO ticks (run_id, seq, data)
SELECT :run_id, :seq, :data
WHERE NOT EXISTS (SELECT 1 FROM handlers WHERE run_id = :run_id AND status <> 'running');

-- name: SnapshotTaken
INSERT INTO snapshots (run_id, seq, data)
SELECT :run_id, :seq, :data
WHERE NOT EXISTS (SELECT 1 FROM handlers WHERE run_id = :run_id AND status <> 'running')
ON CONFLICT (run_id) DO UPDATE SET seq = excluded.seq, data = excluded.data;
DELETE FROM ticks WHERE run_id = :run_id AND seq <= :seq;

-- name: StateReplaced
INSERT INTO state_records (run_id, seq, data, tick) VALUES (:run_id, :seq, :data, :tick)
ON CONFLICT (run_id) DO UPDATE SET seq = excluded.seq, data = excluded.data, tick = excluded.tick;
DELETE FROM state_patches WHERE run_id = :run_id AND seq <= :seq;

-- name: StatePatched
INSERT INTO state_patches (run_id, seq, patch, tick) VALUES (:run_id, :seq, :patch, :tick);

-- name: EventAppended
-- Where the run is not running, or the sequence is one of its handler's earlier runs, there is no number: it is refused.
INSERT INTO event_log (number, sequence, run_id, internal, data, time, took)
VALUES (
    (
        SELECT number FROM handlers
        WHERE run_id = :run_id AND handler_id = :handler_id AND status = 'running'
            AND :sequence >= first_sequence AND :sequence >= log_begins
    ),
    :sequence, :run_id, :internal, :data, :time, :took
);

-- name: HistoryNoted
-- Where nobody says behind which event it stands, that is the last one, and its time is not before that event's.
WITH h AS (
    SELECT
        number,
        coalesce(
            :after_sequence,
            (SELECT max(e.sequence) FROM event_log AS e WHERE e.number = handlers.number),
            log_begins - 1
        ) AS after_sequence
    FROM handlers
    WHERE handler_id = :handler_id AND run_id = :run_id AND number IS NOT NULL
)
INSERT INTO history (number, after_sequence, place, run_id, time, kind, actor, data)
SELECT
    h.number,
    h.after_sequence,
    (
        SELECT coalesce(max(n.place), -1) + 1
        FROM history AS n
        WHERE n.number = h.number AND n.after_sequence = h.after_sequence
    ),
    :run_id,
    CASE WHEN :after_sequence IS NOT NULL THEN :time ELSE max(:time, coalesce(
        (SELECT e.time FROM event_log AS e WHERE e.number = h.number AND e.sequence = h.after_sequence), :time
    )) END,
    :kind, :by, :data
FROM h
WHERE :kind <> 'suspended' OR NOT EXISTS (
    SELECT 1
    FROM history AS n
    WHERE n.number = h.number AND n.kind = 'suspended' AND n.data = :data AND n.run_id = :run_id
        AND (n.after_sequence, n.place) = (
            SELECT l.after_sequence, l.place
            FROM history AS l
            WHERE l.number = h.number
            ORDER BY l.after_sequence DESC, l.place DESC
            LIMIT 1
        )
);

-- name: InboxPosted
INSERT INTO inbox (inbox_id, handler_id, run_id, event, step, event_type, size, early, hold, held)
VALUES (:inbox_id, :handler_id, :run_id, :event, :step, :event_type, :size, :early, :hold, :held);

-- name: InboxHeld
UPDATE inbox SET held = :held WHERE inbox_id = :inbox_id;

-- name: InboxTaken
DELETE FROM inbox WHERE inbox_id = :inbox_id;

-- name: KeyAnswered
INSERT INTO answers (scope, key, handler_id, run_id, body_hash, response, answered_at)
VALUES (:scope, :key, :handler_id, :run_id, :body_hash, :response, :answered_at);

-- name: QueueAdvanced
UPDATE handlers SET queue_sequence = :sequence WHERE handler_id = :handler_id AND queue_sequence < :sequence;

-- name: ServerAlive
UPDATE server SET alive_at = :at, clock_ahead = :ahead, uptime = :uptime, boot = :boot WHERE id = 1;

-- name: HandlerReplaced
-- The records of the run before go before the handler points at another run.
DELETE FROM ticks
WHERE run_id IN (SELECT run_id FROM handlers WHERE handler_id = :handler_id)
    AND (run_id IS NOT :run_id OR :status <> 'running');
DELETE FROM snapshots
WHERE run_id IN (SELECT run_id FROM handlers WHERE handler_id = :handler_id)
    AND (run_id IS NOT :run_id OR :status <> 'running');
DELETE FROM inbox
WHERE run_id IN (SELECT run_id FROM handlers WHERE handler_id = :handler_id)
    AND (run_id IS NOT :run_id OR :status <> 'running');
DELETE FROM state_records
WHERE run_id IN (SELECT run_id FROM handlers WHERE handler_id = :handler_id) AND run_id IS NOT :run_id;
DELETE FROM state_patches
WHERE run_id IN (SELECT run_id FROM handlers WHERE handler_id = :handler_id) AND run_id IS NOT :run_id;
INSERT INTO handlers (handler_id, workflow_name, run_id, status, error, started_at, updated_at, completed_at, number)
VALUES (
    :handler_id, :workflow_name, :run_id, :status, :error, :started_at, :updated_at, :completed_at,
    (SELECT coalesce(max(number), 0) + 1 FROM handlers)
)
ON CONFLICT (handler_id) DO UPDATE SET
    workflow_name = excluded.workflow_name,
    run_id = excluded.run_id,
    status = excluded.status,
    error = excluded.error,
    started_at = excluded.started_at,
    updated_at = excluded.updated_at,
    completed_at = excluded.completed_at,
    number = coalesce(number, excluded.number);
INSERT INTO payloads (handler_id, result) VALUES (:handler_id, :result)
ON CONFLICT (handler_id) DO UPDATE SET result = excluded.result;
UPDATE handler_tags SET started_at = coalesce(:started_at, 0.0) WHERE handler_id = :handler_id;

-- name: StateGiven
INSERT INTO state_records (run_id, seq, data) VALUES (:run_id, -1, :data)
ON CONFLICT (run_id) DO UPDATE SET seq = excluded.seq, data = excluded.data, tick = excluded.tick;
DELETE FROM state_patches WHERE run_id = :run_id;

-- name: ClocksShifted
-- The last sign of life is shifted, too, so that a start that dies right after this does not add the time again.
UPDATE handlers SET alive_since = alive_since + :seconds WHERE status = 'running' AND alive_since IS NOT NULL;
UPDATE server SET alive_at = alive_at + :seconds, uptime = uptime + :seconds WHERE id = 1;

-- name: PurgeMarked
UPDATE handlers SET purging = 1 WHERE handler_id IN (SELECT value FROM json_each(:handler_ids));
DELETE FROM answers WHERE handler_id IN (SELECT value FROM json_each(:handler_ids));

-- name: PurgeSliced
-- A handler's own row goes last, and its few single rows with it.
DELETE FROM event_log WHERE (number, sequence) IN (
    SELECT e.number, e.sequence
    FROM handlers AS h CROSS JOIN event_log AS e ON e.number = h.number
    WHERE h.purging = 1
    LIMIT :events
);
DELETE FROM events WHERE (handler_id, sequence) IN (
    SELECT e.handler_id, e.sequence
    FROM handlers AS h CROSS JOIN events AS e ON e.handler_id = h.handler_id
    WHERE h.purging = 1
    LIMIT :older_events
);
DELETE FROM history WHERE (number, after_sequence, place) IN (
    SELECT e.number, e.after_sequence, e.place
    FROM handlers AS h CROSS JOIN history AS e ON e.number = h.number
    WHERE h.purging = 1
    LIMIT :history
);
DELETE FROM ticks WHERE (run_id, seq) IN (
    SELECT t.run_id, t.seq
    FROM handlers AS h CROSS JOIN ticks AS t ON t.run_id = h.run_id
    WHERE h.purging = 1
    LIMIT :ticks
);
DELETE FROM state_patches WHERE (run_id, seq) IN (
    SELECT p.run_id, p.seq
    FROM handlers AS h CROSS JOIN state_patches AS p ON p.run_id = h.run_id
    WHERE h.purging = 1
    LIMIT :patches
);
DELETE FROM handlers WHERE handler_id IN (
    SELECT h.handler_id
    FROM handlers AS h
    WHERE h.purging = 1
        AND NOT EXISTS (SELECT 1 FROM event_log AS e WHERE e.number = h.number)
        AND NOT EXISTS (SELECT 1 FROM events AS e WHERE e.handler_id = h.handler_id)
        AND NOT EXISTS (SELECT 1 FROM history AS e WHERE e.number = h.number)
        AND NOT EXISTS (SELECT 1 FROM ticks AS t WHERE t.run_id = h.run_id)
        AND NOT EXISTS (SELECT 1 FROM state_patches AS p WHERE p.run_id = h.run_id)
    LIMIT :handlers
);
