-- A table beside the one in use takes the sessions as they are to be; the swap exchanges the two names at once.
DROP TABLE IF EXISTS session_rows_rebuilt;
CREATE TABLE session_rows_rebuilt AS session_rows;
