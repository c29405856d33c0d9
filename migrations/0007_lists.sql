-- Lists of the handlers of a workflow are read in the order of their start, too, page by page: each is found where the
-- last one ended. The index holds all that it takes to count handlers.
DROP INDEX handlers_by_status;

CREATE INDEX handlers_by_workflow ON handlers (status, workflow_name, coalesce(started_at, 0.0), handler_id);
