-- Posted events that come before a step waits for them are kept, and what waits for a run is counted.
--
-- event_type: the class of the event, as module.Class; where nothing is known of it, ''.
-- size: bytes of the event.
-- early: no step accepts it, so that only a wait can take it.
-- hold: the client asked to keep it until the next wait for its type begins.
-- held: the run has come to it and keeps it until a wait for its type begins.
ALTER TABLE inbox ADD COLUMN event_type TEXT NOT NULL DEFAULT '';
ALTER TABLE inbox ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
ALTER TABLE inbox ADD COLUMN early INTEGER NOT NULL DEFAULT 0 CHECK (early IN (0, 1));
ALTER TABLE inbox ADD COLUMN hold INTEGER NOT NULL DEFAULT 0 CHECK (hold IN (0, 1));
ALTER TABLE inbox ADD COLUMN held INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1));

UPDATE inbox SET
    event_type = coalesce(iif(json_valid(event), json_extract(event, '$.qualified_name'), ''), ''),
    size = length(CAST(event AS BLOB));

-- What a run is waiting to be given is counted without reading the events.
DROP INDEX inbox_by_run;

CREATE INDEX inbox_by_run ON inbox (run_id, inbox_id, held, early, size);
