"""What mutated documents are made of: values at the edges, and the words that each decoder knows."""

from __future__ import annotations

NOW_MS = 1_764_000_000_000
"""The record time that the examples are made for."""

# fmt: off
NUMBERS: tuple[int, ...] = (
    0, 1, -1, 2, 99, 255, 256, 399, 400, 500, 2_147_483_647, 2_147_483_648, 4_294_967_296,
    9_007_199_254_740_992, 9_223_372_036_854_775_807, 9_223_372_036_854_775_808,
    18_446_744_073_709_551_615, -9_223_372_036_854_775_808, 946_684_799_999, 946_684_800_000, NOW_MS,
    1_764_000_060_001, 1_764_086_400_000, 1_764_086_400_001, 9_999_999_999_999, 10_000_000_000_000,
)
TOKENS: tuple[bytes, ...] = (
    b"1e999", b"-1e999", b"1E400", b"1e-999", b"-0", b"-0.0", b"0.1e1", b"1.0", b"1e3", b"9" * 40,
    b"-" + b"9" * 40, b"9" * 400, b"0." + b"9" * 400, b"NaN", b"Infinity", b"-Infinity", b"01", b"+1",
    b".5", b"1.", b"0x10", b"", b"\"\\ud800\"", b"\"\\udc00\\ud800\"", b"\"\\ud83d\\ude00\"",
    b"\"\\u0000\"", b"\"a\\u0000b\"", b"\"\\u001f\"", b"\"\\x41\"", b"\"\xff\"", b"\"\xc3(\"",
    b"\"\xed\xa0\x80\"", b"\"\xf4\x90\x80\x80\"", b"\"\xc0\x80\"", b"\"\xef\xbb\xbf\"", b"\"\x00\"",
    b"\"\x01\"", b"\"\n\"", b"\"\x7f\"", b"\"", b"\"\\", b"'a'", b"nul", b"True", b"[", b"{", b"]", b"}",
    b"[,]", b"{,}", b"{\"a\"}", b"{\"a\":}", b"{1:2}", b"[1,]", b"{\"a\":1,}", b"/**/1", b"1//", b"[1 2]",
    b"\xef\xbb\xbf1", b" 1 ", b"\n[\n1\r\n,\t2 ]\n", b"{ \"a\" :\n1 }", b"\x0b1", b"\xc2\xa01",
    b"{\"a\":1,\"a\":2}", b"{\"\":0}",
)
"""JSON values, most of them not strict JSON."""
TEXTS: tuple[str, ...] = (
    "", " ", "a", "/", "a/b", "\x00", "a\x00b", "\x01", "\n", "\r\n", "\t", "\"", "\\", "\u2028", "\x7f",
    "\x85", "\ufeff", "é", "😀", "\uffff", "\U0010ffff", "\u0130", "ß" * 64, "true", "false", "null", "0",
    "400", "\xb2", "\u0663", "1e9", "{}", "[]", "a" * 64, "a" * 65, "é" * 127, "é" * 128, "a" * 128,
    "a" * 129, "😀" * 128, "a" * 1024, "a" * 1025, "x" * 9000, "2025-11-24T15:58:00Z",
    "2025-02-30T00:00:00Z", "2016-12-31T23:59:60Z", "9999-12-31T23:59:59.999999999-23:59",
    "0001-01-01T00:00:00+23:59", "2025-11-24t15:58:00.1z", "2025-11-24T24:00:00Z",
    "2025-11-24T15:58:00+24:00",
)
DEPTHS: tuple[int, ...] = (
    1, 2, 3, 250, 251, 252, 253, 254, 255, 256, 257, 258, 1_020, 1_024, 1_025, 3_000,
)
"""How deep to nest: around the limits of decoder and JSON library."""
BYTES: tuple[bytes, ...] = (
    b"\x00", b"\x01", b"\n", b"\r", b"\t", b" ", b"\"", b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0",
    b"-", b"e", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"1e999", b"NaN", b"null",
    b"\xef\xbb\xbf", b"9" * 25,
)
"""What is put anywhere."""
NATIVE_KEYS: tuple[str, ...] = (
    "v", "app_id", "device_id", "batch_id", "sent_at", "resource", "user", "events", "id", "name", "time",
    "seq", "session_id", "attributes", "personas", "properties", "service.version", "os.name",
    "device.model.name", "android.app.state", "ios.app.state", "app.launch.type", "app.exit.reason",
    "fatal", "error.type", "severity", "http.response.status_code", "severity_number", "severity_text",
    "app.build_id", "unknown",
)
NATIVE_VALUES: tuple[object, ...] = (
    "device.app.lifecycle", "app.launch", "app.crash", "app.exit", "app.anr", "exception", "session.end",
    "log", "http.client.request", "app.widget.click", "app.screen.view", "created", "foreground",
    "background", "cold", "terminate", "CRASH_NATIVE", "LOW_MEMORY", "ERROR", "fatal2", "true", "400",
    True, 400, 17, 1, NOW_MS,
)
MEASURE_KEYS: tuple[str, ...] = (
    "events", "spans", "id", "session_id", "timestamp", "type", "attribute", "app_unique_id",
    "installation_id", "user_id", "platform", "app_version", "app_build", "os_name", "device_model",
    "device_x", "thread_name", "network_type", "exception", "anr", "http", "lifecycle_app", "app_exit",
    "cold_launch", "gesture_click", "gesture_long_click", "screen_view", "custom", "exceptions", "frames",
    "class_name", "method_name", "line_num", "file_name", "module_name", "symbol_address", "signal",
    "message", "severity", "handled", "framework", "status_code", "failure_reason", "method", "url",
    "reason", "target", "x", "attachments", "user_triggered", "user_defined_attribute", "measure.type",
    "exception.type", "telemetry.sdk.name", "service.version", "trace_id", "span_id", "parent_id", "name",
    "start_time", "end_time", "duration", "status", "attributes", "checkpoints",
)
MEASURE_VALUES: tuple[object, ...] = (
    "exception", "anr", "http", "lifecycle_app", "app_exit", "cold_launch", "gesture_click", "screen_view",
    "attribute", "id", "type", "timestamp", "custom", "foreground", "background", "terminated", "ios",
    "iPadOS", "fatal", "handled", "dart", "js", "CRASH", "ANR", "USER_STOPPED", "post", 404, 200, 0, True,
    False, "2025-11-24T15:58:00.123456789Z", "2025-11-24 15:58:00+05:30", "2025-11-24T15:58:00-00:00",
)
OTLP_KEYS: tuple[str, ...] = (
    "resourceLogs", "scopeLogs", "logRecords", "resourceSpans", "scopeSpans", "spans", "resource", "scope", "name",
    "version", "attributes", "key", "value", "stringValue", "boolValue", "intValue", "doubleValue", "bytesValue",
    "arrayValue", "kvlistValue", "values", "timeUnixNano", "time_unix_nano", "observedTimeUnixNano", "body",
    "severityNumber", "severityText", "eventName", "traceId", "spanId", "parentSpanId", "traceState", "kind",
    "startTimeUnixNano", "endTimeUnixNano", "events", "links", "status", "code", "message", "flags",
    "instrumentationLibraryLogs", "resourceMetrics", "schemaUrl",
)
OTLP_VALUES: tuple[object, ...] = (
    "session.id", "emb.session_part_id", "app.installation.id", "service.name", "service.version", "user.id",
    "user.roles", "user.email", "app.crash", "device.crash", "session.end", "session.start", "exception",
    "exception.type", "device.app.lifecycle", "android.app.state", "ios.state", "foreground", "background", "created",
    "app.exit", "AppStart", "Resumed", "start.type", "cold", "http.request.method", "http.status_code", "GET",
    "log.record.uid", "app.crash.id", "event.name", "telemetry.sdk.language", "webjs", "fatal", "passive", "body",
    "metrickit.diagnostic.name", "MXMetricPayload", "SEVERITY_NUMBER_ERROR", "SPAN_KIND_CLIENT", "STATUS_CODE_ERROR",
    "1785776841000000000", 1785776841000000000, 1.785776841e18, "1.785776841e18", "9223372036854775807", -1, 3, 21,
    "emb.type", "ux.session_part", "ux.view", "ux.tap", "perf.network_request", "sys.log", "sys.exception", "sys.exit",
    "sys.android.crash", "sys.ios.crash", "emb.otel_log", "emb.state", "emb.user_session_id", "emb.crash_id",
    "emb.terminated", "emb.heartbeat_time_unix_nano", "emb.session_part_end_reason", "web_soft_nav", "manual", "state",
    "emb.private", "timestamp", "aei_session_part_id", "view.name", "tap.coords", "sys.ios.metrickit",
    "AQL/", "_-8", "NaN", "Infinity", "5B8EFFF798038103D269B633813FC60C", "0000000000000000", "zz", {}, [], None,
    {"stringValue": "x"}, {"intValue": "7"}, {"arrayValue": {"values": [{}]}}, {"kvlistValue": [{"key": "k"}]},
)
FARO_KEYS: tuple[str, ...] = (
    "meta", "events", "logs", "exceptions", "measurements", "traces", "sdk", "app", "user", "browser", "os", "device",
    "page", "session", "view", "k6", "name", "namespace", "version", "installationId", "id", "roles", "hash", "url",
    "attributes", "previousSession", "timestamp", "domain", "trace", "trace_id", "span_id", "action", "level",
    "message", "context", "type", "value", "values", "stacktrace", "frames", "filename", "function", "lineno", "colno",
    "fatal", "toView", "toRoute", "toUrl", "fromUrl", "passive", "app.state", "url.full", "meta.url.full",
)
FARO_VALUES: tuple[object, ...] = (
    "session_start", "view_changed", "route_change", "click", "navigation", "faro.navigation.push",
    "faro.navigation.replaceState", "faro.performance.resource", "faro.user.action", "web-vitals", "error", "warn",
    "app.crash", "session.end", "https://a.example/b?c#d", "/b", "http://[", "2025-11-24T15:58:00.123456789Z",
    "1999-12-31T23:59:59Z", "a,b,,\"c\"", "session:x", True, False, 0, 1.5,
)
SENTRY_KEYS: tuple[str, ...] = (
    "sent_at", "sdk", "name", "version", "trace", "dsn", "type", "length", "sid", "did", "init", "started",
    "timestamp", "status", "errors", "duration", "attrs", "release", "environment", "user_agent",
    "abnormal_mechanism", "event_id", "level", "platform", "exception", "values", "value", "mechanism", "handled",
    "stacktrace", "frames", "module", "function", "contexts", "device", "os", "id", "op", "trace_id", "span_id",
    "parent_span_id", "tags", "session.id", "extra", "request", "url", "user", "logentry", "formatted", "message",
    "transaction", "start_timestamp", "spans", "data", "description", "items", "body", "attributes",
    "sentry.op", "sentry.release", "sentry.segment.name.source", "end_timestamp", "is_segment", "url.path", "url.full",
    "user_agent.original", "http.response.status_code",
)
SENTRY_VALUES: tuple[object, ...] = (
    "session", "event", "transaction", "log", "span", "sessions", "attachment", "ok", "exited", "crashed", "abnormal",
    "unhandled", "anr_foreground", "sentry.java.android", "sentry.javascript.browser", "sentry.cocoa",
    "org.example.app@1.4.0+57", "fatal", "error", "java", "native", "AppExitInfo", "http.client", "pageload",
    "GET https://a.example/b", "2025-11-24T15:58:00.123Z", "1945-06-16T06:36:49.000Z", 1763999880.123, 1e300, -1,
    True, False, 503, "3C1FFC32-f68f-4af2-a1ee-dd72f4d62d17",
)
# fmt: on
