-- An index of the versions of the code took a thirtieth of the CPU of each run. They are looked for in the order of a
-- list, as other texts are.
DROP INDEX handlers_by_code_version;
