-- The trace that a run belongs to, where it was started by a traced request: its W3C trace context.
ALTER TABLE handlers ADD COLUMN trace TEXT;
