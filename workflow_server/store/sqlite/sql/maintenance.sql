-- Reads of commands on a whole database. They may scan tables: no client waits for them.

-- name: statuses
SELECT status, count(*) FROM handlers WHERE purging = 0 GROUP BY status;

-- name: application_id
SELECT application_id FROM pragma_application_id;

-- name: size
SELECT page_count * page_size FROM pragma_page_count, pragma_page_size;

-- name: space
SELECT page_size, page_count, freelist_count FROM pragma_page_size, pragma_page_count, pragma_freelist_count;

-- name: auto_vacuum
SELECT auto_vacuum FROM pragma_auto_vacuum;

-- name: tables
SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY name;

-- name: table_bytes
-- With the bytes of a table's indexes.
SELECT coalesce(s.tbl_name, d.name), sum(d.pgsize)
FROM dbstat AS d LEFT JOIN sqlite_schema AS s ON s.name = d.name
WHERE d.aggregate = TRUE
GROUP BY 1;

-- name: handlers
SELECT workflow_name, status, count(*) FROM handlers WHERE purging = 0 GROUP BY 1, 2 ORDER BY 1, 2;

-- name: being_deleted
SELECT count(*) FROM handlers WHERE purging = 1;

-- The handlers that a purge selects. Their age counts from their end, that of a running one from its start.

-- name: selected
SELECT handler_id
FROM handlers
WHERE status IN (SELECT value FROM json_each(:statuses))
    AND (:workflows IS NULL OR workflow_name IN (SELECT value FROM json_each(:workflows)))
    AND coalesce(completed_at, started_at, updated_at, 0.0) < :before
    AND purging = 0;

-- name: selected_counts
SELECT workflow_name, status, count(*)
FROM handlers
WHERE status IN (SELECT value FROM json_each(:statuses))
    AND (:workflows IS NULL OR workflow_name IN (SELECT value FROM json_each(:workflows)))
    AND coalesce(completed_at, started_at, updated_at, 0.0) < :before
    AND purging = 0
GROUP BY 1, 2
ORDER BY 1, 2;

-- All rows of the runs that have not ended, table by table, whatever the schema.

-- name: unfinished_handlers
SELECT * FROM handlers WHERE status = 'running' AND purging = 0;

-- name: unfinished_payloads
SELECT p.*
FROM handlers AS h CROSS JOIN payloads AS p ON p.handler_id = h.handler_id
WHERE h.status = 'running' AND h.purging = 0;

-- name: unfinished_ticks
SELECT t.* FROM handlers AS h CROSS JOIN ticks AS t ON t.run_id = h.run_id WHERE h.status = 'running' AND h.purging = 0;

-- name: unfinished_snapshots
SELECT s.*
FROM handlers AS h CROSS JOIN snapshots AS s ON s.run_id = h.run_id
WHERE h.status = 'running' AND h.purging = 0;

-- name: unfinished_state_records
SELECT s.*
FROM handlers AS h CROSS JOIN state_records AS s ON s.run_id = h.run_id
WHERE h.status = 'running' AND h.purging = 0;

-- name: unfinished_state_patches
SELECT s.*
FROM handlers AS h CROSS JOIN state_patches AS s ON s.run_id = h.run_id
WHERE h.status = 'running' AND h.purging = 0;

-- name: unfinished_inbox
SELECT i.* FROM handlers AS h CROSS JOIN inbox AS i ON i.run_id = h.run_id WHERE h.status = 'running' AND h.purging = 0;
