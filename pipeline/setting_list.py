"""All settings: what each may be, its default, what it is and when to change it. deploy/SETTINGS.md has to agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.connection_settings import ConnectionSettings
from pipeline.domain.display import Displays
from pipeline.domain.policy import Policies
from pipeline.domain.privacy import Privacy, Samplings
from pipeline.domain.retention import Retentions
from pipeline.setting_values import (
    CLUSTER,
    COUNTS,
    DAYS,
    HOST,
    HOSTS_OR_NONE,
    INSTANCE_ID,
    LETTERS,
    NAMES,
    NETWORKS,
    PORT_OR_NONE,
    PROJECTS,
    QUORUM,
    TIME_ZONE,
    VERSION,
    Form,
    duration,
    number,
    one_of,
    secret,
    share,
    text,
    whole_seconds,
)
from pipeline.setting_values import setting as _setting

PREFIX = "PIPELINE_"


@dataclass(frozen=True, slots=True)
class Settings(ConnectionSettings):
    """Everything that can be set. Built by `load`, passed down by the wiring."""

    kafka_session_timeout_ms: int = _setting(
        10_000,
        duration(
            "1s",
            "30m",
            "a worker that is only busy would be taken for a dead one",
            "brokers accept no such time",
        ),
        "How long the broker waits for a worker's heartbeat before it gives the worker's partitions to "
        "others. Lower it to replace a dead worker sooner; raise it where workers lose their partitions on "
        "a slow network. Kafka accepts less than 6 s only where its group.min.session.timeout.ms is lower.",
    )
    kafka_instance_id: str = _setting(
        "",
        INSTANCE_ID,
        "A name for this worker that it keeps when it is restarted and that no other worker of its role has, such as "
        "its pod's name (`group.instance.id`). Its partitions then wait for it for as long as the session timeout "
        "instead of going to others. Empty: they go to others at once when it stops.",
    )
    kafka_give_up_ms: int = _setting(
        10 * 60_000,
        duration("1s", "20d", "nothing could be sent in that time", "Kafka counts such times in 32 bits"),
        "How long a worker waits for a broker that does not answer before it exits. Lower it where "
        "something else restarts workers.",
    )
    kafka_replication: int = _setting(
        1,
        number(1, 32, "a topic has at least one replica", "no cluster keeps that many replicas"),
        "Replicas of the topics that `migrate` and the workers create. Set it to 3 on a cluster of three or "
        "more brokers, before the first start.",
    )
    topic_retention_ms: int = _setting(
        7 * 86_400_000,
        duration(
            "1h",
            "36500d",
            "Kafka would delete records before a worker that was away has read them",
            "100 years are enough, and -1 means for ever",
            or_ever=True,
        ),
        "How long the topics keep records; used when they are created. Raise it to survive longer outages, "
        "lower it where disk space is short.",
    )
    clickhouse_hosts: str = _setting(
        "",
        HOSTS_OR_NONE,
        "More hosts of the same ClickHouse, with their HTTP ports; the next one is asked where one does not "
        "answer. They have the URL's user and password. Set it for a cluster.",
    )
    clickhouse_cluster: str = _setting(
        "",
        CLUSTER,
        "The cluster in the servers' `remote_servers` that the database is spread over; none is one server. Set "
        'it before the first `migrate`: it cannot change afterwards. deploy/README.md, "A ClickHouse cluster".',
    )
    clickhouse_insert_quorum: str = _setting(
        "",
        QUORUM,
        "How many replicas must have what is inserted before it counts as stored, or `auto` for most of them; "
        "none is one. Set it where a host of a cluster may be lost with what only it has.",
    )
    clickhouse_timeout_ms: int = _setting(
        120_000,
        whole_seconds(
            duration("1s", "1d", "no insert is done in that time", "a sink would stand still for that long")
        ),
        "How long a request waits for ClickHouse's answer; after that an insert is tried again. Raise it where "
        "a busy ClickHouse takes longer.",
    )
    partitions: int = _setting(
        8,
        number(1, 10_000, "a topic has at least one partition", "no cluster keeps that many for one topic"),
        "Partitions of every topic, and so the largest useful number of workers of a role. Set it before the "
        "first start; afterwards only as `session-pipeline repartition` says.",
    )
    partitions_before: str = _setting(
        "",
        COUNTS,
        "Earlier numbers of partitions. Records on `sdk-events` that producers put where keys belonged then are taken "
        "to where they belong now; without it they are refused as `wrong_partition`. `repartition` says what to set.",
    )
    offset_base: int = _setting(
        0,
        number(
            0,
            10**16,
            "offsets are not negative",
            "ClickHouse could not order what is stored",
            multiple=10_000,
        ),
        "Added to every offset that is stored. When topics are made anew, raise it above all stored offsets "
        "and run `migrate`, so that revisions go on growing. `up` does so by itself. deploy/runbook.md says how.",
    )
    state_version: int = _setting(
        0,
        number(0, 1_000, "versions are not negative", "there is no such version"),
        "Version in which the state of devices is written; 0 is the newest. Set an older one during a "
        "rolling upgrade, while some workers cannot read the newer one: see deploy/runbook.md.",
    )
    core: str = _setting(
        "auto",
        one_of("auto", "python", "rust"),
        "What reads and folds most records: `rust` is the compiled core (the extra `fast`), several times as fast, and "
        "an error where it is not installed; `auto` takes it if it is; `python` never does. The results are the same.",
    )
    sink_max_rows: int = _setting(
        200_000,
        number(
            100,
            1_000_000,
            "ClickHouse could not merge so many small inserts",
            "ClickHouse would cut the insert, and could store part of it twice",
            unit="rows",
        ),
        "The most rows that a sink inserts at once. Seldom changed.",
    )
    sink_max_bytes: int = _setting(
        32_000_000,
        number(
            1_000_000,
            1_000_000_000,
            "one record may be that large",
            "a sink holds up to three times as much in memory",
            unit="bytes",
        ),
        "The most bytes that a sink inserts at once. Lower it where memory is short: a sink holds up to "
        "three times as much.",
    )
    sink_max_age_ms: int = _setting(
        1_000,
        duration(
            "100ms",
            "5m",
            "ClickHouse could not merge so many small inserts",
            "commands that wait for what was sent would give up",
        ),
        "How long rows wait for others before they are inserted; those of sessions wait half as long. Raise it where "
        "ClickHouse has too many parts; what is sent then shows up later.",
    )
    metrics_port: int = _setting(
        0,
        PORT_OR_NONE,
        "Port of a worker's /metrics (for Prometheus), /readyz and /livez (for probes). Set it to watch workers; "
        "each worker on a machine needs its own.",
    )
    metrics_host: str = _setting(
        "127.0.0.1",
        HOST,
        "Address on which these pages answer. It has no login, so open it to other machines only where the "
        "network is trusted.",
    )
    log_format: str = _setting(
        "plain",
        one_of("plain", "json"),
        "How workers write their log to stderr: lines for people, or one JSON object per line for log collectors.",
    )
    dashboard_password: str = _setting(
        "",
        text("any text", is_secret=True),
        "The password that the dashboard asks for. Without one it answers only on this machine.",
        shown=False,
    )
    dashboard_dir: str = _setting(
        "",
        text("a folder"),
        "Folder for the dashboard's key and for the list of who signed out. Set it to one that all replicas "
        "share; if empty, sign-ins end with the process.",
    )
    dashboard_proxies: str = _setting(
        "",
        NETWORKS,
        "Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` the dashboard believes. Set it behind a "
        "proxy.",
    )
    dashboard_memory: int = _setting(
        2_000_000_000,
        number(
            100_000_000,
            10**12,
            "no page could be shown",
            "no ClickHouse has that much for one query",
            unit="bytes",
        ),
        "Bytes that ClickHouse may use for one query of the dashboard; up to four run at once. Lower it where "
        "ClickHouse has less memory.",
    )
    symbols_bytes: int = _setting(
        20_000_000_000,
        number(
            1_000_000,
            10**13,
            "no symbol file is that small",
            "no company has that many symbols",
            unit="bytes",
        ),
        "Bytes that symbol files may take in ClickHouse together, before it compresses them. Raise it where "
        "`symbols upload` says that there is no room.",
    )
    dead_letter_retention_days: int = _setting(
        30,
        DAYS,
        "How many days what was refused is kept in ClickHouse. Raise it where a fix takes longer to be found and "
        "deployed: `dead-letters replay` can send again what is still kept.",
    )
    otlp_app_id: str = _setting(
        "app.id,service.namespace+service.name,service.name",
        NAMES,
        "Attributes of an OTLP resource: the first of them that is there is the app. With a + between, they are joined "
        "by a dot. Set it where apps are told apart by another attribute.",
    )
    otlp_session_devices: str = _setting(
        "browsers",
        one_of("never", "browsers", "always"),
        "Apps whose OTLP records without `app.installation.id` are accepted, with each SDK session as a device of its "
        "own: sessions are right then, but numbers of devices and stitched sessions say nothing. Others are refused.",
    )
    sentry_apps: str = _setting(
        "",
        PROJECTS,
        "Which app a project of Sentry's is, the last part of a DSN, or its public key, the part before the `@`: "
        "`7=org.example.shop`. The project counts first. Set it where releases do not begin with the app's package. "
        "Otherwise they say it; or the app is `sentry-` and the project.",
    )
    dead_letters_per_minute: int = _setting(
        100,
        LETTERS,
        "How many refused records of one topic, partition and reason are kept with their bytes in a minute. Of those "
        "beyond it the count and the offsets are kept. Raise it to be able to replay more of a flood.",
    )
    data_dir: str = _setting(
        "",
        text("a folder"),
        "Where a worker keeps what Faust needs on disk; a temporary folder if empty. Set it where there is "
        "no writable /tmp.",
    )
    privacy_key: str = _setting(
        "",
        secret(32, "one of fewer could be guessed"),
        "The key of all hashes that privacy rules make of values (PRIVACY.md). Set it, the same for all workers, "
        "where rules hash; with another one the same value has another hash.",
        shown=False,
    )
    alerts: str = _setting(
        "",
        text("a file"),
        "The file of alert rules, for `alerts run` (ALERTS.md). Set it to hear when a rate falls or a count rises.",
    )
    policy_version: int = _setting(
        0,
        VERSION,
        "The version of the policies in these settings: all that can be set for an app, and its defaults. Raise it "
        "with each change, then run `session-pipeline policies publish`: workers switch to it without a restart, and "
        "follow what was published from then on. 0: they follow their own settings.",
    )
    policies: Policies = field(default_factory=Policies)
    retentions: Retentions = field(default_factory=Retentions)
    samplings: Samplings = field(default_factory=Samplings)
    shown: Displays = field(default_factory=Displays)
    privacy: Privacy = field(default_factory=Privacy)


_NO_SESSIONS = "every event would be a session of its own"
_A_YEAR = "nobody uses an app for a year without a break"
_AN_HOUR = "events of another use of the app would count"

POLICY: Mapping[str, tuple[Form, str]] = {
    "inactivity_timeout_ms": (
        duration("1s", "365d", _NO_SESSIONS, _A_YEAR),
        "A longer gap between two events of a device ends its session.",
    ),
    "max_duration_ms": (
        duration("1s", "365d", _NO_SESSIONS, _A_YEAR),
        "No activity joins a session that began longer ago than this. Raise it for apps that run all day.",
    ),
    "launch_grace_ms": (
        duration("0s", "1h", "times are not negative", _AN_HOUR),
        "How far apart the signals of one start may be. Raise it for apps that start slowly.",
    ),
    "exit_grace_ms": (
        duration("0s", "1h", "times are not negative", _AN_HOUR),
        "How long after a session's end its last events may come.",
    ),
    "flicker_grace_ms": (
        duration("0s", "1h", "times are not negative", _AN_HOUR),
        "A background and a foreground no further apart are one window giving way to another, and no end of a "
        "session. Raise it for apps whose screens are slow to replace one another.",
    ),
    "stitch_gap_ms": (
        duration("0s", "365d", "times are not negative", _A_YEAR),
        "Sessions with a shorter break between them are one stitched session.",
    ),
    "stitch_max_duration_ms": (
        duration("0s", "365d", "times are not negative", _A_YEAR),
        "No session joins a stitched session that began longer ago than this.",
    ),
    "restate_horizon_ms": (
        duration("1s", "36500d", "no session could wait for its own events", "100 years are enough"),
        "How late an event may be and still change sessions. Raise it for devices that are offline longer; "
        "state grows with it.",
    ),
    "restate_events": (
        number(
            1,
            100_000,
            "no session could wait for its own events",
            "the state of a device has to fit a record of its topic",
            unit="events",
        ),
        "How many newer events of a device may arrive before a late one, for it still to change sessions. "
        "State grows with it.",
    ),
    "state_ttl_ms": (
        duration("1s", "36500d", "no session could wait for its own events", "100 years are enough"),
        "A device that has sent nothing for this long is forgotten by the workers: memory and recovery follow the "
        "devices of this time. What it sends then begins anew, and `rebuild` knows of both. It must be longer than "
        "`restate_horizon`; where that is 7 days or more, the default is a day more than that.",
    ),
    "idle_timeout_ms": (
        duration("1s", "365d", "open sessions would be reported as ended between two events", _A_YEAR),
        "How long a device must be silent before its open session is reported as ended; by default the same "
        "as `inactivity_timeout`. Lower it to see ends sooner.",
    ),
}
"""Of each field of a policy: what it may be, what it is and when to change it. Single apps can have their own."""

RETENTION: Mapping[str, tuple[Form, str]] = {
    "retention_days": (
        DAYS,
        "How many days events are kept, from the day on which Kafka had their record. Sessions, and what the ledger "
        "counted, are kept beyond that. It must be longer than `restate_horizon`; where that is 89 days or more, the "
        "default is a day more than that.",
    ),
    "session_retention_days": (
        DAYS,
        "How many days sessions are kept, from the day on which they last changed. They are kept at least as long as "
        "their events; where events are kept longer than 400 days, that is the default.",
    ),
}
"""The same of each field of a retention."""

SAMPLING: Mapping[str, tuple[Form, str]] = {
    "sample_rate": (
        share("the share of devices"),
        "Of how many of an app's devices anything is kept. A device that is in stays in when the rate rises. Lower it "
        "where an app sends more than you can afford; its counts are then estimates (PRIVACY.md).",
    ),
}

DISPLAY: Mapping[str, tuple[Form, str]] = {
    "time_zone": (
        TIME_ZONE,
        "The zone in which the dashboard shows an app's times and counts its days, unless a viewer chose another. Set "
        "it to that of the people who look at the app. What is stored, exported and answered by the API stays in UTC.",
    ),
}
