-- By how many seconds the server's own clock, which nobody sets, was ahead of the wall clock at alive_at. Deadlines,
-- alive_since and wake_at are times of the server's clock; started_at, updated_at and completed_at of the wall clock.
ALTER TABLE server ADD COLUMN clock_ahead REAL NOT NULL DEFAULT 0.0;

-- For how many seconds the system was up at alive_at, and a name for this time of its being up.
ALTER TABLE server ADD COLUMN uptime REAL;
ALTER TABLE server ADD COLUMN boot TEXT;

-- When a run was asked for, by the server's clock: the order in which runs get their slots. NULL in rows that are older
-- than this column, from when started_at was by the same clock.
ALTER TABLE handlers ADD COLUMN requested_at REAL;

-- Nothing follows the terminal event of a run. Who writes later is told so: what it writes is refused, as a whole.
CREATE TRIGGER events_of_running_runs BEFORE INSERT ON events
WHEN NOT EXISTS (
    SELECT 1 FROM handlers WHERE handler_id = NEW.handler_id AND run_id = NEW.run_id AND status = 'running'
)
BEGIN
    SELECT RAISE(ABORT, 'the run of this event is not running');
END;

CREATE TRIGGER inbox_of_running_runs BEFORE INSERT ON inbox
WHEN NOT EXISTS (
    SELECT 1 FROM handlers WHERE handler_id = NEW.handler_id AND run_id = NEW.run_id AND status = 'running'
)
BEGIN
    SELECT RAISE(ABORT, 'the run of this event is not running');
END;

-- A run ends once. Its end writes "released", and whoever gives a handler as a whole does not.
CREATE TRIGGER runs_end_once BEFORE UPDATE OF released ON handlers
WHEN OLD.status <> 'running' AND NEW.status <> 'running' AND OLD.run_id IS NEW.run_id
BEGIN
    SELECT RAISE(ABORT, 'the run has ended before');
END;
