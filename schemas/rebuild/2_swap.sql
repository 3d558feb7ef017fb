-- From one query to the next every reader sees the other sessions, never a mixture.
EXCHANGE TABLES session_rows AND session_rows_rebuilt;
DROP TABLE session_rows_rebuilt;
