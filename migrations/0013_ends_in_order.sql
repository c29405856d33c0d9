-- Retention deletes the handlers of a status that ended first, and keeps those of all statuses that ended last. The index
-- holds only what it may delete; ends are almost always appended to it. A handler without an end was stored as a whole.
CREATE INDEX handlers_by_end ON handlers (status, coalesce(completed_at, updated_at, started_at, 0.0), handler_id)
WHERE status <> 'running' AND purging = 0;
