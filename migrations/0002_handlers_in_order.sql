-- GET /handlers reads page by page, oldest first: each page is found where the last one ended, whatever the length of
-- the list. A handler that was stored without a start comes first.
CREATE INDEX handlers_in_order ON handlers (status, coalesce(started_at, 0.0), handler_id);
