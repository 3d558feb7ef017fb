-- The ClickHouse users of the pipeline, each with what its programs need and no more (least privilege). A test runs each
-- program with nothing else, and `session-pipeline check --role ROLE` names what a user lacks.
--
-- Change every CHANGE-ME, and app_sessions where the database has another name; run it as a user who may make users. It may
-- run again after an upgrade: what is there already stays. In place of a password a user may have a client certificate:
-- IDENTIFIED WITH ssl_certificate CN 'session-pipeline-write' (PIPELINE_CLICKHOUSE_CERT_FILE). On a cluster add ON CLUSTER
-- to every statement.

-- `migrate`, `status` and `regroup`: the tables are made and changed by this user, and views that fill tables work as it.
CREATE USER IF NOT EXISTS session_pipeline_migrate IDENTIFIED WITH sha256_password BY 'CHANGE-ME-migrate';
GRANT SELECT, CREATE DATABASE, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW, TRUNCATE, ALTER TABLE, ALTER VIEW, INSERT ON app_sessions.* TO session_pipeline_migrate;
GRANT SELECT, CREATE DATABASE, CREATE VIEW, DROP VIEW ON app_sessions_views.* TO session_pipeline_migrate;
GRANT SELECT ON system.parts TO session_pipeline_migrate;
GRANT SELECT ON system.processes TO session_pipeline_migrate;

-- The sink: `worker --role sink`.
CREATE USER IF NOT EXISTS session_pipeline_write IDENTIFIED WITH sha256_password BY 'CHANGE-ME-write';
GRANT SELECT ON app_sessions.* TO session_pipeline_write;
GRANT INSERT ON app_sessions.session_rows TO session_pipeline_write;
GRANT INSERT ON app_sessions.z_envelope_feed TO session_pipeline_write;
GRANT INSERT ON app_sessions.z_event_feed TO session_pipeline_write;
GRANT INSERT ON app_sessions.z_event_copy_feed TO session_pipeline_write;
GRANT INSERT ON app_sessions.dead_letter_rows TO session_pipeline_write;
GRANT INSERT ON app_sessions.ledger_records TO session_pipeline_write;
GRANT INSERT ON app_sessions.topic_ids TO session_pipeline_write;
GRANT INSERT ON app_sessions.z_crash_rows TO session_pipeline_write;
GRANT INSERT ON app_sessions.z_ledger_sums TO session_pipeline_write;
GRANT INSERT ON app_sessions.z_policy_version_rows TO session_pipeline_write;

-- The dashboard with its HTTP API; the last four are for keys that write: mutes, symbols, and the groups that crashes get by them.
-- Analysts who save no filter need no INSERT: make them a user with SELECT alone. A BI tool also needs SELECT ON
-- app_sessions_views.*, and is pointed there.
CREATE USER IF NOT EXISTS session_pipeline_read IDENTIFIED WITH sha256_password BY 'CHANGE-ME-read';
GRANT SELECT ON app_sessions.* TO session_pipeline_read;
GRANT INSERT ON app_sessions.saved_filter_rows TO session_pipeline_read;
GRANT INSERT ON app_sessions.default_filter_rows TO session_pipeline_read;
GRANT INSERT ON app_sessions.z_alert_mute_rows TO session_pipeline_read;
GRANT INSERT ON app_sessions.z_symbol_file_rows TO session_pipeline_read;
GRANT INSERT, ALTER DELETE ON app_sessions.z_symbol_part_rows TO session_pipeline_read;
GRANT INSERT ON app_sessions.z_crash_rows TO session_pipeline_read;

-- `alerts run`, and `alerts mute`.
CREATE USER IF NOT EXISTS session_pipeline_alerts IDENTIFIED WITH sha256_password BY 'CHANGE-ME-alerts';
GRANT SELECT ON app_sessions.* TO session_pipeline_alerts;
GRANT INSERT ON app_sessions.z_alert_rows TO session_pipeline_alerts;
GRANT INSERT ON app_sessions.z_alert_delivery_rows TO session_pipeline_alerts;
GRANT INSERT ON app_sessions.z_alert_mute_rows TO session_pipeline_alerts;

-- `erase`.
CREATE USER IF NOT EXISTS session_pipeline_erase IDENTIFIED WITH sha256_password BY 'CHANGE-ME-erase';
GRANT SELECT ON app_sessions.* TO session_pipeline_erase;
GRANT INSERT ON app_sessions.erasure_receipts TO session_pipeline_erase;
GRANT INSERT, ALTER DELETE ON app_sessions.z_erased_records TO session_pipeline_erase;
GRANT INSERT ON app_sessions.ledger_records TO session_pipeline_erase;
GRANT INSERT ON app_sessions.z_ledger_ranges TO session_pipeline_erase;
GRANT ALTER DELETE ON app_sessions.z_event_rows TO session_pipeline_erase;
GRANT ALTER DELETE ON app_sessions.z_notable_event_rows TO session_pipeline_erase;
GRANT ALTER DELETE ON app_sessions.z_crash_rows TO session_pipeline_erase;
GRANT ALTER DELETE ON app_sessions.session_rows TO session_pipeline_erase;
GRANT ALTER DELETE ON app_sessions.told_session_rows TO session_pipeline_erase;
GRANT ALTER DELETE ON app_sessions.z_session_revision_rows TO session_pipeline_erase;
GRANT ALTER DELETE ON app_sessions.z_session_places TO session_pipeline_erase;
GRANT ALTER DELETE ON app_sessions.z_device_days TO session_pipeline_erase;
GRANT ALTER DELETE ON app_sessions.z_elsewhere_days TO session_pipeline_erase;
GRANT ALTER DELETE ON app_sessions.z_user_days TO session_pipeline_erase;
GRANT ALTER DELETE ON app_sessions.z_id_places TO session_pipeline_erase;
GRANT ALTER DELETE ON app_sessions.dead_letter_rows TO session_pipeline_erase;

-- `rebuild`, and `dead-letters replay`.
CREATE USER IF NOT EXISTS session_pipeline_rebuild IDENTIFIED WITH sha256_password BY 'CHANGE-ME-rebuild';
GRANT SELECT ON app_sessions.* TO session_pipeline_rebuild;
GRANT CREATE TABLE, INSERT, DROP TABLE ON app_sessions.session_rows TO session_pipeline_rebuild;
GRANT CREATE TABLE, INSERT, DROP TABLE ON app_sessions.session_rows_rebuilt TO session_pipeline_rebuild;
GRANT CREATE TABLE, INSERT, DROP TABLE ON app_sessions.session_rows_left TO session_pipeline_rebuild;
GRANT INSERT ON app_sessions.z_session_places TO session_pipeline_rebuild;
GRANT INSERT ON app_sessions.z_id_places TO session_pipeline_rebuild;
GRANT INSERT ON app_sessions.z_device_days TO session_pipeline_rebuild;
GRANT INSERT ON app_sessions.z_user_days TO session_pipeline_rebuild;
GRANT INSERT ON app_sessions.z_apps TO session_pipeline_rebuild;
GRANT INSERT ON app_sessions.told_session_rows TO session_pipeline_rebuild;
GRANT INSERT ON app_sessions.z_event_copy_feed TO session_pipeline_rebuild;
GRANT INSERT ON app_sessions.replaced_rows TO session_pipeline_rebuild;
GRANT INSERT ON app_sessions.z_session_revision_rows TO session_pipeline_rebuild;
GRANT ALTER DELETE ON app_sessions.dead_letter_rows TO session_pipeline_rebuild;
GRANT INSERT ON app_sessions.dead_letter_replays TO session_pipeline_rebuild;

-- `retention --apply`.
CREATE USER IF NOT EXISTS session_pipeline_retention IDENTIFIED WITH sha256_password BY 'CHANGE-ME-retention';
GRANT SELECT ON app_sessions.* TO session_pipeline_retention;
GRANT SELECT ON system.mutations TO session_pipeline_retention;
GRANT ALTER UPDATE, ALTER DELETE, ALTER TTL, ALTER MATERIALIZE TTL ON app_sessions.z_event_rows TO session_pipeline_retention;
GRANT ALTER UPDATE, ALTER DELETE, ALTER TTL, ALTER MATERIALIZE TTL ON app_sessions.z_notable_event_rows TO session_pipeline_retention;
GRANT ALTER UPDATE, ALTER DELETE, ALTER TTL, ALTER MATERIALIZE TTL ON app_sessions.z_crash_rows TO session_pipeline_retention;
GRANT ALTER UPDATE, ALTER DELETE, ALTER TTL, ALTER MATERIALIZE TTL ON app_sessions.session_rows TO session_pipeline_retention;
GRANT ALTER UPDATE, ALTER DELETE, ALTER TTL, ALTER MATERIALIZE TTL ON app_sessions.told_session_rows TO session_pipeline_retention;
GRANT ALTER UPDATE, ALTER DELETE, ALTER TTL, ALTER MATERIALIZE TTL ON app_sessions.z_session_revision_rows TO session_pipeline_retention;
GRANT ALTER UPDATE, ALTER DELETE, ALTER TTL, ALTER MATERIALIZE TTL ON app_sessions.dead_letter_rows TO session_pipeline_retention;
GRANT ALTER UPDATE, INSERT ON app_sessions.ledger_records TO session_pipeline_retention;
GRANT INSERT ON app_sessions.z_retention_cuts TO session_pipeline_retention;
GRANT INSERT ON app_sessions.z_ledger_ranges TO session_pipeline_retention;

-- A tenant, for example: who sees the rows of one app alone. Tables that know no app (what the pipeline notes for
-- itself) are not granted. Whoever has no policy sees all rows, which is the server's own default
-- (users_without_row_policies_can_read_rows).
CREATE SETTINGS PROFILE IF NOT EXISTS session_pipeline_tenants SETTINGS readonly = 2, max_execution_time = 20 MAX 60, max_memory_usage = 2000000000 MAX 4000000000, max_result_rows = 100000 MAX 1000000, max_concurrent_queries_for_user = 8 READONLY;
CREATE USER IF NOT EXISTS session_pipeline_tenant IDENTIFIED WITH sha256_password BY 'CHANGE-ME-tenant' SETTINGS PROFILE 'session_pipeline_tenants';
CREATE QUOTA IF NOT EXISTS session_pipeline_tenants KEYED BY user_name FOR INTERVAL 1 hour MAX queries = 5000, errors = 500, read_rows = 20000000000, execution_time = 3600 TO session_pipeline_tenant;
-- Hashes of events that came in several versions; they know no app, and say nothing without its events.
GRANT SELECT ON app_sessions.z_event_version_rows TO session_pipeline_tenant;
-- When ranges of offsets of all apps were accounted for last.
GRANT SELECT ON app_sessions.z_ledger_ranges TO session_pipeline_tenant;
-- Which of its devices are set aside.
GRANT SELECT ON app_sessions.dead_letter_rows TO session_pipeline_tenant;
CREATE ROW POLICY IF NOT EXISTS session_pipeline_tenant ON app_sessions.dead_letter_rows FOR SELECT USING reason = 'device_set_aside' AND startsWith(key, 'org.example.shop/') TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.default_filter_rows TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.erasure_receipts TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.ledger_records TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.saved_filter_rows TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.session_rows TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.told_session_rows TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.z_apps TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.z_crash_rows TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.z_device_days TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.z_elsewhere_days TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.z_event_rows TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.z_id_places TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.z_notable_event_rows TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.z_retention_cuts TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.z_session_places TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.z_user_days TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.z_alert_rows TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.z_session_revision_rows TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.z_symbol_file_rows TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.z_ledger_days TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.z_ledger_sums TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.cold_starts TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.conflicting_events TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.crash_events TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.crash_free_users_daily TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.crash_groups TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.crash_paths TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.crashed_sessions_of TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.daily_activity TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.devices_set_aside TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.double_events TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.endpoints TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.erasures TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.event_users TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.events TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.events_between TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.events_like TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.exceptions_like TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.failing_requests TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.failure_users TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.ids_like TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.issue_events TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.late_events TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.ledger TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.ledger_between TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.z_ledger_conflicts TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.z_ledger_range_states TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.z_ledger_unsummed TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.narrated_events TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.notable_events TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.notable_events_between TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.notable_events_in_sessions TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.release_health TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.release_health_between TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.requests_between TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.restated_sessions TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.retention TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.saved_filters TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.screen_paths TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.screen_transitions TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.screen_views TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.session_as_last_told TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.session_counts TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.session_health TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.session_health_of_users TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.session_successors TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.session_timeline TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.sessions TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.sessions_as_told TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.sessions_of_any_id TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.sessions_of_id TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.sessions_over_time TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.stitched_sessions TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.stitched_sessions_between TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.stitched_timeline TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.top_crashes TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.unrestated_sessions TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.user_timeline TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.user_timeline_between TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.users_between TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.version_adoption TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.alert_evaluations TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.alert_states TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.alert_transitions TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.crash_free_known_at TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.missing_symbols TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.session_health_known_at TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.session_health_of_users_known_at TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.sessions_known_at TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.symbol_files TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.z_crashes TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.z_session_crashes TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.z_stored_event_versions TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.z_stored_events TO session_pipeline_tenant;
GRANT SELECT ON app_sessions.z_unmerged_events TO session_pipeline_tenant;
CREATE ROW POLICY IF NOT EXISTS session_pipeline_tenant ON app_sessions.default_filter_rows FOR SELECT USING app_id IN ('org.example.shop') TO session_pipeline_tenant;
CREATE ROW POLICY IF NOT EXISTS session_pipeline_tenant ON app_sessions.erasure_receipts FOR SELECT USING app_id IN ('org.example.shop') TO session_pipeline_tenant;
CREATE ROW POLICY IF NOT EXISTS session_pipeline_tenant ON app_sessions.ledger_records FOR SELECT USING app_id IN ('org.example.shop') TO session_pipeline_tenant;
CREATE ROW POLICY IF NOT EXISTS session_pipeline_tenant ON app_sessions.saved_filter_rows FOR SELECT USING app_id IN ('org.example.shop') TO session_pipeline_tenant;
CREATE ROW POLICY IF NOT EXISTS session_pipeline_tenant ON app_sessions.session_rows FOR SELECT USING app_id IN ('org.example.shop') TO session_pipeline_tenant;
CREATE ROW POLICY IF NOT EXISTS session_pipeline_tenant ON app_sessions.told_session_rows FOR SELECT USING app_id IN ('org.example.shop') TO session_pipeline_tenant;
CREATE ROW POLICY IF NOT EXISTS session_pipeline_tenant ON app_sessions.z_apps FOR SELECT USING app_id IN ('org.example.shop') TO session_pipeline_tenant;
CREATE ROW POLICY IF NOT EXISTS session_pipeline_tenant ON app_sessions.z_crash_rows FOR SELECT USING app_id IN ('org.example.shop') TO session_pipeline_tenant;
CREATE ROW POLICY IF NOT EXISTS session_pipeline_tenant ON app_sessions.z_device_days FOR SELECT USING app_id IN ('org.example.shop') TO session_pipeline_tenant;
CREATE ROW POLICY IF NOT EXISTS session_pipeline_tenant ON app_sessions.z_elsewhere_days FOR SELECT USING app_id IN ('org.example.shop') TO session_pipeline_tenant;
CREATE ROW POLICY IF NOT EXISTS session_pipeline_tenant ON app_sessions.z_event_rows FOR SELECT USING app_id IN ('org.example.shop') TO session_pipeline_tenant;
CREATE ROW POLICY IF NOT EXISTS session_pipeline_tenant ON app_sessions.z_id_places FOR SELECT USING app_id IN ('org.example.shop') TO session_pipeline_tenant;
CREATE ROW POLICY IF NOT EXISTS session_pipeline_tenant ON app_sessions.z_notable_event_rows FOR SELECT USING app_id IN ('org.example.shop') TO session_pipeline_tenant;
CREATE ROW POLICY IF NOT EXISTS session_pipeline_tenant ON app_sessions.z_retention_cuts FOR SELECT USING app_id IN ('org.example.shop') TO session_pipeline_tenant;
CREATE ROW POLICY IF NOT EXISTS session_pipeline_tenant ON app_sessions.z_session_places FOR SELECT USING app_id IN ('org.example.shop') TO session_pipeline_tenant;
CREATE ROW POLICY IF NOT EXISTS session_pipeline_tenant ON app_sessions.z_user_days FOR SELECT USING app_id IN ('org.example.shop') TO session_pipeline_tenant;
CREATE ROW POLICY IF NOT EXISTS session_pipeline_tenant ON app_sessions.z_alert_rows FOR SELECT USING app_id IN ('org.example.shop') TO session_pipeline_tenant;
CREATE ROW POLICY IF NOT EXISTS session_pipeline_tenant ON app_sessions.z_session_revision_rows FOR SELECT USING app_id IN ('org.example.shop') TO session_pipeline_tenant;
CREATE ROW POLICY IF NOT EXISTS session_pipeline_tenant ON app_sessions.z_symbol_file_rows FOR SELECT USING app_id IN ('org.example.shop') TO session_pipeline_tenant;
CREATE ROW POLICY IF NOT EXISTS session_pipeline_tenant ON app_sessions.z_ledger_days FOR SELECT USING app_id IN ('org.example.shop') TO session_pipeline_tenant;
CREATE ROW POLICY IF NOT EXISTS session_pipeline_tenant ON app_sessions.z_ledger_sums FOR SELECT USING app_id IN ('org.example.shop') TO session_pipeline_tenant;
