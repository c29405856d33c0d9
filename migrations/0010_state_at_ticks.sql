-- The tick of the journal that a change of the state was written with, so that a retry finds the state as it was when a
-- step began. -1 stands for before the first tick, and in rows that are older than these columns.
ALTER TABLE state_records ADD COLUMN tick INTEGER NOT NULL DEFAULT -1;
ALTER TABLE state_patches ADD COLUMN tick INTEGER NOT NULL DEFAULT -1;
