-- The version of the workflow's code that began the handler's current run, NULL of runs that began before this. No row is
-- written, so that a large file opens as fast as a small one.
ALTER TABLE handlers ADD COLUMN code_version TEXT;

CREATE INDEX handlers_by_code_version ON handlers (code_version, coalesce(started_at, 0.0), handler_id)
WHERE code_version IS NOT NULL;
