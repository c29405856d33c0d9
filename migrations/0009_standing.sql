-- What a run waits for that is not in memory, as JSON: only a replay of its journal would tell it. It is written with the
-- release of the run, and goes when the run is loaded or ends; a run that was released before this has none.
ALTER TABLE handlers ADD COLUMN standing TEXT;
