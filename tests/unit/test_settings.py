"""Settings that make no sense are refused by name, and misspelt variables are named."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pipeline.settings import InvalidSettings, as_environment, load, unknown, variables
from tests.support.stack import command_line, environment

# A variable, a value that was taken once, and what the message has to say besides the name.
NONSENSE = [
    ("POLICY_VERSION", "-1", "not a whole number"),
    ("POLICY_VERSION", "4294967296", "ClickHouse could not hold it"),
    ("SAMPLE_RATE", "0", "over 0, at most 1"),
    ("SAMPLE_RATE", "1.01", "over 0, at most 1"),
    ("SAMPLE_RATE", "10%", "0.25"),
    ("SAMPLE_RATE", "1e-3", "0.25"),
    ("PRIVACY_KEY", "a secret of 31 characters......", "could be guessed"),
    ("KAFKA_SESSION_TIMEOUT", "0s", "1s to 30m"),
    ("KAFKA_SESSION_TIMEOUT", "999ms", "1s to 30m"),
    ("KAFKA_SESSION_TIMEOUT", "1h", "1s to 30m"),
    ("KAFKA_INSTANCE_ID", "pod 1", "not a name for a worker"),
    ("KAFKA_INSTANCE_ID", "pod-" + "1" * 200, "up to 200"),
    ("KAFKA_GIVE_UP", "0s", "1s to 20d"),
    ("KAFKA_GIVE_UP", "400d", "1s to 20d"),
    ("KAFKA_REPLICATION", "1000", "1 to 32"),
    ("KAFKA_BOOTSTRAP", "broker:0", "port"),
    ("KAFKA_BOOTSTRAP", "one:9092,two:99999", "port"),
    ("KAFKA_BOOTSTRAP", "http://broker:9092", "host:port"),
    ("KAFKA_BOOTSTRAP", "", "host:port"),
    ("KAFKA_CA_FILE", "{file}", "kafka_security"),
    ("KAFKA_USERNAME", "someone", "kafka_security"),
    ("KAFKA_PASSWORD", "secret", "kafka_security"),
    ("KAFKA_MECHANISM", "SCRAM-SHA-512", "kafka_security"),
    ("KAFKA_PASSWORD_FILE", "/nowhere/at/all", "cannot read /nowhere/at/all"),
    ("API_KEY_FILE", "{file}", "is empty"),
    ("KAFKA_TOKEN_URL", "https://id.example/token", "kafka_security"),
    ("KAFKA_TOKEN_URL", "http://id.example/token", "readable"),
    ("KAFKA_TOKEN_URL", "id.example/token", "https://"),
    ("KAFKA_TOKEN_URL", "https://id.example:0/token", "port"),
    ("KAFKA_TOKEN_SCOPE", "kafka", "kafka_security"),
    ("KAFKA_TOKEN_CA_FILE", "{file}", "kafka_security"),
    ("KAFKA_CERT_FILE", "{file}", "kafka_security"),
    ("KAFKA_KEY_FILE", "{file}", "kafka_security"),
    ("KAFKA_KEY_PASSWORD", "secret", "kafka_security"),
    ("KAFKA_KEY_PASSWORD_FILE", "{file}", "is empty"),
    ("CLICKHOUSE_URL_FILE", "{file}", "is empty"),
    ("CLICKHOUSE_PASSWORD", "secret\n", "control character"),
    ("CLICKHOUSE_PASSWORD_FILE", "{file}", "is empty"),
    ("CLICKHOUSE_CA_FILE", "{file}", "clickhouse_url"),
    ("CLICKHOUSE_CERT_FILE", "{file}", "clickhouse_url"),
    ("CLICKHOUSE_KEY_FILE", "{file}", "clickhouse_url"),
    ("CLICKHOUSE_KEY_PASSWORD", "secret", "clickhouse_url"),
    ("CLICKHOUSE_KEY_PASSWORD_FILE", "{file}", "is empty"),
    ("DASHBOARD_PASSWORD_FILE", "{file}", "is empty"),
    ("PRIVACY_KEY_FILE", "{file}", "is empty"),
    ("TOPIC_RETENTION", "0s", "1h to 36500d"),
    ("TOPIC_RETENTION", "7ms", "1h to 36500d"),
    ("TOPIC_RETENTION", "99999999999d", "1h to 36500d"),
    ("CLICKHOUSE_TIMEOUT", "0s", "1s to 1d"),
    ("CLICKHOUSE_TIMEOUT", "1500ms", "whole seconds"),
    ("CLICKHOUSE_TIMEOUT", "99d", "1s to 1d"),
    ("CLICKHOUSE_URL", "http://h:0/d", "port"),
    ("CLICKHOUSE_URL", "http://h:8123/d?secure=1", "http[s]://"),
    ("CLICKHOUSE_URL", "http://h:8123/d#x", "http[s]://"),
    ("CLICKHOUSE_URL", "http://h:8123/some/d", "http[s]://"),
    ("CLICKHOUSE_HOSTS", "two", "host:port"),
    ("CLICKHOUSE_HOSTS", "two:8123,three:0", "port"),
    ("CLICKHOUSE_CLUSTER", "my cluster", "letters, digits"),
    ("CLICKHOUSE_CLUSTER", "a'b", "letters, digits"),
    ("CLICKHOUSE_INSERT_QUORUM", "1", "auto"),
    ("CLICKHOUSE_INSERT_QUORUM", "most", "auto"),
    ("PARTITIONS", "٣", "1 to 10000"),
    ("PARTITIONS", "1000000", "1 to 10000"),
    ("OFFSET_BASE", "12345", "10,000"),
    ("OFFSET_BASE", "1000000000000000000000", "10,000"),
    ("STATE_VERSION", "99999999", "0 to 1000"),
    ("SINK_MAX_ROWS", "1", "100 to 1000000"),
    ("SINK_MAX_ROWS", "9999999999", "100 to 1000000"),
    ("SINK_MAX_BYTES", "1", "1000000 to 1000000000"),
    ("SINK_MAX_BYTES", "9999999999999", "1000000 to 1000000000"),
    ("SINK_MAX_AGE", "0s", "100ms to 5m"),
    ("SINK_MAX_AGE", "1d", "100ms to 5m"),
    ("PARTITIONS_BEFORE", "0", "8 or 8,12"),
    ("PARTITIONS_BEFORE", "8;12", "8 or 8,12"),
    ("METRICS_HOST", "", "address or host name"),
    ("METRICS_HOST", "http://0.0.0.0", "address or host name"),
    ("METRICS_HOST", "0.0.0.0:9464", "address or host name"),
    ("DASHBOARD_PASSWORD", "   ", "is blank"),
    ("DASHBOARD_PASSWORD", "secret\n", "control character"),
    ("DASHBOARD_DIR", "{file}", "not a folder"),
    ("DASHBOARD_MEMORY", "1", "100000000 to 1000000000000"),
    ("DASHBOARD_MEMORY", "99999999999999999", "100000000 to 1000000000000"),
    ("SYMBOLS_BYTES", "1", "1000000 to 10000000000000"),
    ("API_UPLOAD_BYTES", "1", "no symbol file is that small"),
    ("API_UPLOAD_BYTES", "2000000001", "that is what `symbols upload` takes"),
    ("DATA_DIR", "{file}", "not a folder"),
    ("RETENTION_DAYS", "90d", "0 to 36500"),
    ("RETENTION_DAYS", "36501", "0 to 36500"),
    ("RETENTION_DAYS", "0.5", "0 to 36500"),
    ("RETENTION_DAYS", "1", "restate_horizon"),
    ("SESSION_RETENTION_DAYS", "-1", "0 to 36500"),
    ("SESSION_RETENTION_DAYS", "89", "retention_days, 90"),
    ("DEAD_LETTER_RETENTION_DAYS", "36501", "0 to 36500"),
    ("DEAD_LETTERS_PER_MINUTE", "0", "1 to 1000000"),
    ("DATA_DIR", " ", "is blank"),
    ("ALERTS", " ", "is blank"),
    ("RECEIVE_HOST", "", "address or host name"),
    ("RECEIVE_PORT", "65536", "0 to 65535"),
    ("RECEIVE_KEYS", " ", "is blank"),
    ("RECEIVE_ORIGINS", "shop.example", "https://shop.example"),
    ("RECEIVE_MAX_BODY", "9000000", "1000 to 8000000"),
    ("RECEIVE_BUDGET", "1000000", "16000000 to 1000000000000"),
    ("RECEIVE_CONNECTIONS", "1", "10 to 1000000"),
    ("RECEIVE_DRAIN", "1h", "0s to 10m"),
    ("RECEIVE_DRAIN", "3", "2s, 30m"),
    ("INACTIVITY_TIMEOUT", "0s", "1s to 365d"),
    ("FLICKER_GRACE", "2h", "0s to 1h"),
    ("STATE_TTL", "1d", "must be longer than restate_horizon, 86400000ms"),
    ("INACTIVITY_TIMEOUT", "400000d", "1s to 365d"),
    ("MAX_DURATION", "0ms", "1s to 365d"),
    ("MAX_DURATION", "366d", "1s to 365d"),
    ("LAUNCH_GRACE", "1d", "0s to 1h"),
    ("EXIT_GRACE", "1d", "0s to 1h"),
    ("STITCH_GAP", "9999d", "0s to 365d"),
    ("STITCH_MAX_DURATION", "9999d", "0s to 365d"),
    ("RESTATE_HORIZON", "0s", "1s to 36500d"),
    ("RESTATE_HORIZON", "999999999d", "1s to 36500d"),
    ("RESTATE_EVENTS", "99999999", "1 to 100000"),
    ("IDLE_TIMEOUT", "0s", "1s to 365d"),
    ("IDLE_TIMEOUT", "99999d", "1s to 365d"),
    ("OTLP_APP_ID", "", "list of names"),
    ("TIME_ZONE", "Mars/Base", "Europe/Berlin"),
    ("SENTRY_APPS", "7", "project=app"),
    ("SENTRY_APPS", "7=a/b", "project=app"),
    ("SENTRY_APPS", "7=a,", "project=app"),
    ("SENTRY_APPS", "7=a,7=b", "twice"),
    ("OTLP_APP_ID", "app.id,", "list of names"),
    ("OTLP_APP_ID", "a b", "list of names"),
    ("OTLP_SESSION_DEVICES", "no", "never, browsers, always"),
    ("LOG_FORMAT", "JSON", "not one of plain, json"),
    ("CORE", "c", "not one of auto, python, rust"),
    ("API_URL", "ftp://x", "https://host:port"),
    ("API_URL", "https://user@host", "https://host:port"),
    ("API_RATE", "0", "1 to 1000000"),
    ("API_RATE", "2000000", "1 to 1000000"),
    ("API_KEYS", " ", "is blank"),
    ("API_KEY", "secret\n", "control character"),
    ("CONFIG", "", "names no file"),
]


@pytest.mark.parametrize(("name", "text", "says"), NONSENSE)
def test_a_value_that_makes_no_sense_is_refused_by_name(
    name: str, text: str, says: str, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InvalidSettings) as refused:
        load({f"PIPELINE_{name}": text.format(file=file)})
    (problem,) = str(refused.value).removeprefix("settings: ").split("; ")
    assert problem.startswith(f"{name.lower()}: ")
    assert says in problem
    assert "secret" not in problem


def test_every_variable_refuses_nonsense() -> None:
    """Neither a setting nor one to come goes without a bound; those of any text are named here."""
    bounded = {f"PIPELINE_{name}" for name, _, _ in NONSENSE}
    # Of a few words each, and a list of networks: test_login.py has that.
    bounded |= {"PIPELINE_KAFKA_SECURITY", "PIPELINE_DASHBOARD_PROXIES", "PIPELINE_METRICS_PORT"}
    assert bounded == set(variables())


# Settings of any text in one line.
ANY_TEXT = {
    "CONFIG",
    "ALERTS",
    "KAFKA_CA_FILE",
    "DATA_DIR",
    "DASHBOARD_DIR",
    "METRICS_HOST",
    "DASHBOARD_PASSWORD",
}
ANY_TEXT |= {"KAFKA_USERNAME", "KAFKA_PASSWORD", "CLICKHOUSE_CLUSTER", "RECEIVE_KEYS", "RECEIVE_HOST"}
ANY_TEXT |= {"API_KEYS", "API_KEY"}
ANY_TEXT |= {"KAFKA_USERNAME", "KAFKA_PASSWORD", "CLICKHOUSE_CLUSTER", "OTLP_APP_ID", "SENTRY_APPS"}


ANY_TEXT |= {
    "KAFKA_CERT_FILE",
    "KAFKA_KEY_FILE",
    "KAFKA_KEY_PASSWORD",
    "KAFKA_TOKEN_SCOPE",
    "KAFKA_TOKEN_CA_FILE",
}
ANY_TEXT |= {"CLICKHOUSE_PASSWORD", "CLICKHOUSE_CA_FILE", "CLICKHOUSE_CERT_FILE", "CLICKHOUSE_KEY_FILE"}
ANY_TEXT |= {"CLICKHOUSE_KEY_PASSWORD"}


@pytest.mark.parametrize("name", variables())
def test_what_no_setting_can_be_is_refused(name: str) -> None:
    lower = name.removeprefix("PIPELINE_").lower()
    wrong = ["\0", "\x1b[2J"] + ([] if lower.upper() in ANY_TEXT else ["-5", "-1s", "nan", "1e99", " "])
    for text in wrong:
        if lower in {"dashboard_proxies", "receive_origins"} and text == " ":
            continue  # none, as in a list of nothing
        if lower == "kafka_instance_id" and text in {"nan", "1e99"}:
            continue  # names like any other
        with pytest.raises(InvalidSettings, match=lower):
            load({name: text})


def test_bounds_themselves_are_taken() -> None:
    least = load(
        {
            "PIPELINE_KAFKA_SESSION_TIMEOUT": "1s",
            "PIPELINE_TOPIC_RETENTION": "1h",
            "PIPELINE_OFFSET_BASE": "10000",
            "PIPELINE_LAUNCH_GRACE": "0s",
            "PIPELINE_METRICS_HOST": "::1",
        }
    )
    assert (least.kafka_session_timeout_ms, least.topic_retention_ms) == (1_000, 3_600_000)
    assert (least.offset_base, least.metrics_host) == (10_000, "::1")
    most = load({"PIPELINE_KAFKA_SESSION_TIMEOUT": "30m", "PIPELINE_RESTATE_HORIZON": "36500d"})
    assert most.kafka_session_timeout_ms == 30 * 60_000
    assert load({"PIPELINE_TOPIC_RETENTION": "-1"}).topic_retention_ms == -1


def test_a_device_is_remembered_for_longer_than_its_events_may_be_late(tmp_path: Path) -> None:
    day_ms = 86_400_000
    assert load({}).policies.default.state_ttl_ms == 7 * day_ms
    assert load({"PIPELINE_RESTATE_HORIZON": "6d"}).policies.default.state_ttl_ms == 7 * day_ms
    assert load({"PIPELINE_RESTATE_HORIZON": "400d"}).policies.default.state_ttl_ms == 401 * day_ms
    file = tmp_path / "settings.toml"
    file.write_text('[apps.a]\nrestate_horizon = "30d"\n[apps.b]\nexit_grace = "1s"\n')
    policies = load({"PIPELINE_CONFIG": str(file), "PIPELINE_STATE_TTL": "8d"}).policies
    assert [policies.of(app).state_ttl_ms // day_ms for app in "abc"] == [31, 8, 8]
    file.write_text('[apps.a]\nrestate_horizon = "8d"\nstate_ttl = "8d"\n')
    with pytest.raises(InvalidSettings, match=r"apps\.a\.state_ttl: .* must be longer than restate_horizon"):
        load({"PIPELINE_CONFIG": str(file)})


def test_a_login_is_taken_where_kafka_asks_for_one() -> None:
    given = {
        "PIPELINE_KAFKA_SECURITY": "SASL_SSL",
        "PIPELINE_KAFKA_MECHANISM": "SCRAM-SHA-512",
        "PIPELINE_KAFKA_USERNAME": "someone",
        "PIPELINE_KAFKA_PASSWORD": "s",
        "PIPELINE_KAFKA_CA_FILE": __file__,
    }
    settings = load(given)
    assert load(as_environment(settings)) == settings


def test_the_file_is_held_to_the_same(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(
        'offset_base = 12345\nkafka_password = 1e5\npartitons = 4\n[apps."a"]\nidle_timeout = "0s"\n[apps.""]\n'
    )
    with pytest.raises(InvalidSettings) as refused:
        load({"PIPELINE_CONFIG": str(file)})
    problems = str(refused.value).removeprefix("settings: ").split("; ")
    begins = [
        "offset_base: ",
        "kafka_password: is a float",
        "partitons: no such setting, did you mean partitions?",
    ]
    begins += ["apps.a.idle_timeout: '0s' ", "apps.: "]
    for problem, begin in zip(sorted(problems), sorted(begins), strict=True):
        assert problem.startswith(begin)


@pytest.mark.parametrize(
    ("variable", "near"),
    [
        ("PIPELINE_COLOUR", "nearest is PIPELINE_"),
        ("PIPELINE_RETENTION", "PIPELINE_RETENTION_DAYS"),
        ("PIPELINE_TIMEOUT", "_TIMEOUT"),
        ("pipeline_partitions", "PIPELINE_PARTITIONS"),
        ("PIPLINE_PARTITIONS", "PIPELINE_PARTITIONS"),
        ("PIPELINES_TOPIC_RETENTION", "PIPELINE_TOPIC_RETENTION"),
        ("SESSION_PIPELINE_PARTITIONS", "PIPELINE_PARTITIONS"),
        ("MY_PIPELINE_KAFKA_BOOTSTRAP", "PIPELINE_KAFKA_BOOTSTRAP"),
    ],
)
def test_a_variable_that_is_not_read_is_named_with_the_nearest(variable: str, near: str) -> None:
    (line,) = unknown({variable: "3", "PIPELINE_PARTITIONS": "3"})
    assert line.startswith(f"{variable} ") and near in line and "\n" not in line
    assert load({variable: "3"}) == load({}), "a warning, no refusal"


def test_variables_of_others_are_not_named() -> None:
    others = ["PATH", "CI_PIPELINE_ID", "CI_PIPELINE_SOURCE", "KAFKA_BOOTSTRAP", "CLICKHOUSE_URL", "DATA_DIR"]
    others += [
        "PYTHONPATH",
        "XDG_STATE_HOME",
        "CLICKHOUSE_PASSWORD",
        "DASHBOARD_PASSWORD",
        "DASHBOARD_MEMORY",
    ]
    assert unknown(dict.fromkeys((*others, *variables()), "1")) == []


def test_a_command_says_it_in_one_line_and_goes_on(tmp_path: Path) -> None:
    given = {"PIPELINE_COLOUR": "red", "PIPELINE_CLICKHOUSE_URL": "http://127.0.0.1:1/d"}
    done = subprocess.run(
        command_line("query", "SELECT 1"),
        env=environment(given),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    warning, failure = done.stderr.splitlines()
    assert warning.startswith("PIPELINE_COLOUR is not a setting ")
    assert "red" not in done.stderr and failure.startswith("session-pipeline: ") and done.returncode == 1


def test_sessions_are_kept_as_long_as_their_events(tmp_path: Path) -> None:
    def kept(**variables: str) -> tuple[int, int]:
        found = load({f"PIPELINE_{name}": value for name, value in variables.items()}).retentions.default
        return found.retention_days, found.session_retention_days

    assert kept() == (90, 400)
    assert kept(RETENTION_DAYS="30") == (30, 400)
    assert kept(RETENTION_DAYS="730") == (730, 730)
    assert kept(RETENTION_DAYS="0") == (0, 0)
    assert kept(SESSION_RETENTION_DAYS="0") == (90, 0)
    # And events for as long as they can change sessions.
    assert kept(RESTATE_HORIZON="90d") == (91, 400)
    assert kept(RESTATE_HORIZON="36500d") == (0, 0)
    assert kept(RESTATE_HORIZON="48h", RETENTION_DAYS="3") == (3, 400)
    file = tmp_path / "settings.toml"
    file.write_text(
        "retention_days = 60\n[apps.a]\nretention_days = 30\n[apps.b]\nretention_days = 0\n"
        "[apps.c]\nsession_retention_days = 60\n"
    )
    of = load({"PIPELINE_CONFIG": str(file)}).retentions.of
    assert [(of(app).retention_days, of(app).session_retention_days) for app in "abcd"] == [
        (30, 400), (0, 0), (60, 60), (60, 400),
    ]  # fmt: skip
    file.write_text("[apps.a]\nretention_days = 0\nsession_retention_days = 400\n")
    with pytest.raises(
        InvalidSettings, match=r"apps\.a\.session_retention_days: 400 .* retention_days, for ever"
    ):
        load({"PIPELINE_CONFIG": str(file)})
    file.write_text("[apps.a]\ndead_letter_retention_days = 1\n")
    with pytest.raises(InvalidSettings, match=r"apps\.a\.dead_letter_retention_days: no such setting"):
        load({"PIPELINE_CONFIG": str(file)})


def test_a_retention_is_no_policy_of_the_fold(tmp_path: Path) -> None:
    """Other days make no other session and no other state."""
    file = tmp_path / "settings.toml"
    file.write_text("retention_days = 7\n[apps.a]\nretention_days = 30\n")
    changed, plain = load({"PIPELINE_CONFIG": str(file)}).policies, load({}).policies
    assert changed.of("a") == changed.of("b") == plain.of("a")
    assert load(as_environment(load({"PIPELINE_RETENTION_DAYS": "7"}))).retentions.default.retention_days == 7
