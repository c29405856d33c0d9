-- The traceback of the failure that ended a handler's current run, cut to the frames of the workflow's own code.
ALTER TABLE payloads ADD COLUMN traceback TEXT;
