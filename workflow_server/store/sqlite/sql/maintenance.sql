-- Reads of commands on a whole database. They may scan tables: no client waits for them.

-- name: statuses
SELECT status, count(*) FROM handlers WHERE purging = 0 GROUP BY status;

-- name: application_id
SELECT application_id FROM pragma_application_id;

-- name: size
SELECT page_count * page_size FROM pragma_page_count, pragma_page_size;
