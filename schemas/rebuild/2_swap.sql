-- From one query to the next every reader sees the other sessions, never a mixture.
EXCHANGE TABLES session_rows AND session_rows_rebuilt;
-- What it tells of a session is compared with what is told next (restated_sessions).
INSERT INTO told_session_rows SELECT * FROM sessions_as_told;
DROP TABLE session_rows_rebuilt;
DROP TABLE session_rows_left;
