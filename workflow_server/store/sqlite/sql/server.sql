-- Writes outside of units: at open and at close.

-- name: migration_applied
INSERT INTO migrations (number, name, sha256, applied_at) VALUES (:number, :name, :sha256, :applied_at);

-- name: server_started
UPDATE server SET clean_stop = 0 WHERE id = 1;

-- name: server_stopped
UPDATE server SET clean_stop = 1 WHERE id = 1;
