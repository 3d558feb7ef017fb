"""The statements of the schema as a cluster needs them, and a store that has several hosts."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import clickhouse_connect
import lz4.frame
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from pipeline.clickhouse import erasure
from pipeline.clickhouse.cluster import Cluster
from pipeline.clickhouse.clustered import clustered, schema
from pipeline.clickhouse.retention import DEAD_LETTERS, EVENTS, SESSIONS
from pipeline.clickhouse.store import StatementFailed, Store, Unreachable
from pipeline.clickhouse.words import NotUnderstood, words_of

PACKAGE = Path(__file__).parents[2] / "pipeline"
ROWS = """CREATE TABLE IF NOT EXISTS rows (app_id String, device_id String, n UInt64)
ENGINE = ReplacingMergeTree(n)
ORDER BY (app_id, device_id)
SETTINGS non_replicated_deduplication_window = 10, replicated_deduplication_window = 10"""
COMMON = "CREATE TABLE IF NOT EXISTS words (word String) ENGINE = ReplacingMergeTree ORDER BY word"
NAMES = (
    "CREATE TABLE IF NOT EXISTS names (app_id String, name String) ENGINE = ReplacingMergeTree ORDER BY name"
)
FEED = "CREATE TABLE IF NOT EXISTS feed (app_id String, device_id String) ENGINE = Null"
TAP = "CREATE MATERIALIZED VIEW IF NOT EXISTS tap TO {target} AS SELECT app_id FROM {source}"
VIEW = "CREATE OR REPLACE VIEW {name} AS SELECT * FROM {source}"


@cache
def whole() -> Cluster:
    """The cluster c and its database d, with all tables."""
    return clustered("c", "d")


def cluster(*made: str) -> Cluster:
    return Cluster("c", "d", made or (ROWS, COMMON, NAMES, FEED))


@pytest.mark.parametrize("statement", schema(), ids=lambda sql: " ".join(sql.split())[:60])
def test_every_statement_of_the_schema_has_a_form(statement: str) -> None:
    """Each with its database, and on all hosts, unless replicas tell each other or rows are brought to their shard."""
    for commented in whole().forms(statement):
        form = re.sub(r"\A(\s*--.*\n)+", "", commented)
        head = form.split("AS\n")[0]
        one = re.match(r"INSERT INTO|DELETE FROM `d`\.|ALTER TABLE `d`\.`\w+` (?!ON CLUSTER)", form)
        assert bool(one) != (" ON CLUSTER `c`" in head), form
        assert form.startswith("INSERT") or re.search(r"`d(_shards)?`\.", form), form


def test_every_table_of_the_schema_has_its_place() -> None:
    """What the sink inserts is on the shards by device; what is counted by topics and names is on all hosts."""
    spread = whole()
    keys = dict(spread.sharded_tables())
    for table in ("z_event_feed", "z_event_copy_feed", "z_event_rows", "session_rows", "told_session_rows"):
        assert keys[table] == "cityHash64(app_id, device_id)"
    assert keys["z_event_version_rows"] == "", "its rows stay where their event is stored"
    for table in ("migrations", "ledger_records", "dead_letter_rows", "topic_ids", "saved_filter_rows"):
        assert not spread.is_sharded(table)


def test_a_table_of_devices_is_on_the_shards_and_one_is_in_front() -> None:
    inside, front = cluster().forms(ROWS)
    assert inside.startswith("CREATE TABLE IF NOT EXISTS `d_shards`.`rows` ON CLUSTER `c`")
    path = "'/clickhouse/tables/{uuid}/{shard}', '{replica}'"
    assert f"ENGINE = ReplicatedReplacingMergeTree({path}, n)" in inside
    assert "replicated_deduplication_window_seconds = 604800" in inside
    assert front == (
        "CREATE TABLE IF NOT EXISTS `d`.`rows` ON CLUSTER `c` AS `d_shards`.`rows`\n"
        "ENGINE = Distributed('c', 'd_shards', 'rows', cityHash64(app_id, device_id))"
    )


def test_any_other_table_is_whole_on_every_host() -> None:
    (made,) = cluster().forms(COMMON)
    assert made.startswith("CREATE TABLE IF NOT EXISTS `d`.`words` ON CLUSTER `c`")
    assert "ReplicatedReplacingMergeTree('/clickhouse/tables/{uuid}/all', '{shard}-{replica}')" in made
    # On one server a row that comes again is stored again, and is the newest then.
    assert "replicated_deduplication_window = 0" in made


def test_a_comment_stays_the_last_of_all() -> None:
    (made,) = cluster().forms(f"{COMMON} COMMENT 'Words; SETTINGS of none'")
    assert made.endswith("SETTINGS replicated_deduplication_window = 0\nCOMMENT 'Words; SETTINGS of none'")
    assert cluster().forms(f"{FEED} COMMENT 'a'")[0].endswith("ENGINE = Null\nCOMMENT 'a'")


def test_people_see_what_is_said_of_a_view() -> None:
    spread = cluster(
        ROWS, VIEW.format(name="events", source="rows"), VIEW.format(name="top", source="events")
    )
    said = "MODIFY COMMENT 'all', COMMENT COLUMN `n` 'a, b'"
    assert spread.forms(f"ALTER TABLE `events` {said}") == [f"ALTER TABLE `d`.`events` ON CLUSTER `c` {said}"]
    assert spread.forms(f"ALTER TABLE `top` {said}") == [f"ALTER TABLE `d`.`top` ON CLUSTER `c` {said}"]
    with pytest.raises(NotUnderstood):
        spread.forms("ALTER TABLE events MODIFY SETTING a = 1")


def test_a_feed_has_no_replicas() -> None:
    inside, front = cluster().forms(FEED)
    assert inside.endswith("ENGINE = Null") and "Distributed(" in front


def test_what_a_view_fills_from_the_shards_is_there() -> None:
    """In a table that all hosts have, rows of one token from two shards would count as a repetition."""
    tap = TAP.format(target="names", source="feed")
    spread = cluster(ROWS, NAMES, FEED, tap)
    assert dict(spread.sharded_tables())["names"] == "cityHash64(app_id)"
    assert "`d_shards`.`names`" in spread.forms(NAMES)[0]
    (made,) = spread.forms(tap)
    assert " TO `d_shards`.`names` AS\nSELECT app_id FROM `d_shards`.`feed`" in made


def test_views_by_device_are_on_the_shards_and_others_on_top() -> None:
    spread = cluster(ROWS, COMMON)
    inside, front = spread.forms(VIEW.format(name="events", source="rows"))
    assert inside == (
        "CREATE OR REPLACE VIEW `d_shards`.`events` ON CLUSTER `c` AS\nSELECT * FROM `d_shards`.`rows`"
    )
    assert front.startswith("CREATE OR REPLACE TABLE `d`.`events` ON CLUSTER `c` AS `d_shards`.`events`")
    assert front.endswith("Distributed('c', 'd_shards', 'events')")
    (top,) = spread.forms(VIEW.format(name="counted", source="events"))
    assert top == "CREATE OR REPLACE VIEW `d`.`counted` ON CLUSTER `c` AS\nSELECT * FROM `d`.`events`"


def test_names_are_told_from_columns_texts_and_questions_inside() -> None:
    sql = (
        "CREATE OR REPLACE VIEW v AS WITH named AS (SELECT n FROM rows), 'FROM rows' AS text -- FROM rows\n"
        "SELECT rows.n, text FROM named AS rows ARRAY JOIN range(2) AS i LEFT JOIN words AS w ON w.word = text"
        " WHERE n IN (SELECT n FROM rows FINAL) AND x = {rows:String} AND now() > (SELECT max(n) FROM system.one)"
    )
    (made,) = cluster().forms(sql)
    assert made.count("`d`.`rows`") == 2 and made.count("`d`.`words`") == 1 and made.count("`d`.") == 4
    assert "'FROM rows' AS text -- FROM rows\n" in made and "FROM named AS rows" in made


@pytest.mark.parametrize(
    ("statement", "forms"),
    [
        ("ALTER TABLE rows ADD COLUMN m UInt8 AFTER n, ADD INDEX i m TYPE minmax", [
            "ALTER TABLE `d_shards`.`rows` ON CLUSTER `c` ADD COLUMN m UInt8 AFTER n, ADD INDEX i m TYPE minmax",
            "ALTER TABLE `d`.`rows` ON CLUSTER `c` ADD COLUMN m UInt8 AFTER n",
        ]),
        ("ALTER TABLE rows UPDATE n = 1, m = 2 WHERE n = 3", [
            "ALTER TABLE `d_shards`.`rows` ON CLUSTER `c` UPDATE n = 1, m = 2 WHERE n = 3",
        ]),
        ("ALTER TABLE words MODIFY COMMENT 'all', COMMENT COLUMN word 'a, b'", [
            "ALTER TABLE `d`.`words` COMMENT COLUMN word 'a, b'",
            "ALTER TABLE `d`.`words` ON CLUSTER `c` MODIFY COMMENT 'all'",
        ]),
        ("ALTER TABLE words MODIFY SETTING a = 1, b = 2", [
            "ALTER TABLE `d`.`words` ON CLUSTER `c` MODIFY SETTING a = 1, b = 2",
        ]),
        ("DROP TABLE IF EXISTS rows", [
            "DROP TABLE IF EXISTS `d`.`rows` ON CLUSTER `c` SYNC",
            "DROP TABLE IF EXISTS `d_shards`.`rows` ON CLUSTER `c` SYNC",
        ]),
        ("DROP TABLE words", ["DROP TABLE `d`.`words` ON CLUSTER `c` SYNC"]),
        ("EXCHANGE TABLES rows AND feed", [
            "EXCHANGE TABLES `d_shards`.`rows` AND `d_shards`.`feed` ON CLUSTER `c`",
        ]),
        ("RENAME TABLE words TO other", ["RENAME TABLE `d`.`words` TO `d`.`other` ON CLUSTER `c`"]),
        ("DELETE FROM words WHERE word = ''", ["DELETE FROM `d`.`words` WHERE word = ''"]),
        ("DELETE FROM rows WHERE n = 1", ["DELETE FROM `d_shards`.`rows` ON CLUSTER `c` WHERE n = 1"]),
        ("INSERT INTO rows SELECT * FROM rows", ["INSERT INTO rows SELECT * FROM rows"]),
    ],
)  # fmt: skip
def test_changes(statement: str, forms: list[str]) -> None:
    assert cluster().forms(statement) == forms


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("TRUNCATE TABLE rows", "no form for a cluster"),
        ("SYSTEM STOP MERGES rows", "no form for a cluster"),
        ("ALTER TABLE rows FREEZE", "FREEZE"),
        # Parts of one name are others on another shard.
        ("ALTER TABLE rows DROP PART {part:String}", "DROP PART"),
        ("ALTER TABLE rows ADD COLUMN m UInt8, FREEZE", "FREEZE"),
        ("ALTER TABLE rows UPDATE n = 1, m = 2 WHERE n = 3, FREEZE", "FREEZE"),
        ("ALTER TABLE nowhere ADD COLUMN n UInt8", "nowhere: no file of the schema makes it"),
        ("CREATE TABLE t (n UInt8) ENGINE = Log", "Log"),
        (
            "CREATE TABLE t (n UInt8) ENGINE = ReplicatedMergeTree('/x', 'r') ORDER BY n",
            "ReplicatedMergeTree",
        ),
        ("CREATE TABLE other.t (n UInt8) ENGINE = Null", "the database comes from the connection"),
        (VIEW.format(name="v", source="nowhere"), "nowhere"),
        (VIEW.format(name="v", source="numbers(3)"), "numbers"),
        (VIEW.format(name="v", source="rows WHERE n IN words"), "IN words"),
        (VIEW.format(name="events", source="rows WHERE n = {n:UInt8}"), "parameters"),
        (TAP.format(target="rows", source="words"), "every host has"),
        ("CREATE VIEW v AS SELECT 1", "IF NOT EXISTS"),
        ("EXCHANGE TABLES rows AND words", "same place"),
        ("DELETE FROM rows WHERE n IN (SELECT n FROM rows)", "depends on other tables"),
        ("SELECT 'not closed", "not understood"),
    ],
)
def test_what_is_not_known_is_refused(statement: str, said: str) -> None:
    with pytest.raises(NotUnderstood, match=said):
        cluster().forms(statement)


def test_a_view_on_the_shards_reads_nothing_that_is_on_top() -> None:
    """Each host would ask all others."""
    spread = cluster(ROWS, VIEW.format(name="top", source="rows"))
    with pytest.raises(NotUnderstood, match="reads top"):
        spread.forms(VIEW.format(name="events", source="top"))


def test_statements_of_the_program_have_forms_too() -> None:
    """Those that change rows and stand in the program. Placeholders of a format string are names in them."""
    spread, found = whole(), 0
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name == "embedded" or path.name in (
            "cluster.py", "catalogue.py", "words.py",
            # Fill in the names of tables (below).
            "retention.py",
            "erasure.py",
        ):  # fmt: skip
            continue
        for sql in _texts(ast.parse(path.read_text(encoding="utf-8"))):
            if re.match(
                r"(ALTER TABLE|DELETE FROM|RENAME TABLE|EXCHANGE TABLES|DROP TABLE|INSERT INTO) \w", sql
            ):
                if "z_migrating" in sql:
                    continue  # One server alone has it.
                found += 1
                assert spread.forms(sql), sql
    assert found >= 4


def test_what_is_erased_is_erased_on_all_shards() -> None:
    for table in erasure.TABLES:
        (form,) = whole().forms(f"ALTER TABLE {table} DELETE WHERE 1")
        assert "ON CLUSTER" in form, form
    # Every host has these.
    for table in ("dead_letter_rows", "z_erased_records"):
        assert whole().forms(f"ALTER TABLE {table} DELETE WHERE 1")


def test_what_is_kept_otherwise_is_changed_on_all_shards() -> None:
    for table in (*EVENTS.tables, *SESSIONS.tables):
        for change in (
            "UPDATE retention_days = 1 WHERE 1",
            "REMOVE TTL",
            "MODIFY TTL toDate(1) SETTINGS materialize_ttl_after_modify = 0",
            "MATERIALIZE TTL IN PARTITION ID {id:String}",
        ):
            assert whole().forms(f"ALTER TABLE {table} {change}") == [
                f"ALTER TABLE `d_shards`.`{table}` ON CLUSTER `c` {change}"
            ]
        with pytest.raises(NotUnderstood, match="DROP PART"):
            whole().forms(f"ALTER TABLE {table} DROP PART '1_0_0_0'")
    # Replicas of one table tell each other.
    for table in DEAD_LETTERS.tables:
        assert whole().forms(f"ALTER TABLE {table} DROP PART 'a'") == [
            f"ALTER TABLE `d`.`{table}` DROP PART 'a'"
        ]


def _texts(tree: ast.AST) -> list[str]:
    texts, inside = [], set()
    for node in ast.walk(tree):
        if id(node) in inside:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = [each.value if isinstance(each, ast.Constant) else "x" for each in node.values]
            texts.append("".join(map(str, parts)))
            inside |= {id(each) for each in node.values}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
    return texts


def test_words() -> None:
    sql = r"""SELECT `a b`, 'it''s \' /* no */', {p:Array(String)} -- comment ' here
    /* and
    here */ FROM t.u WHERE x >= 1.5 AND m['k'] = '日'"""
    words = words_of(sql)
    assert [sql[word.start : word.end] for word in words] == [word.text for word in words]
    assert [word.text for word in words if word.kind == "text"] == [r"'it''s \' /* no */'", "'k'", "'日'"]
    assert "comment" not in {word.text for word in words}


class Host:
    """What of a client is used of one host."""

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.asked: list[Any] = []
        self.database = ""

    def raw_insert(
        self, table: str, columns: None, block: bytes, settings: Mapping[str, Any], **_: str
    ) -> None:
        self._take((lz4.frame.decompress(block), settings["insert_deduplication_token"], settings))

    def raw_query(self, sql: str, parameters: Any, settings: Mapping[str, Any], **_: Any) -> bytes:
        self._take((sql, settings))
        return b"answer"

    def command(self, sql: str, **given: Any) -> None:
        self._take((sql, given))

    def _take(self, what: Any) -> None:
        self.asked.append(what)
        if self.fault:
            raise self.fault


Hosts = dict[str, Host]


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Hosts:
    found = {name: Host() for name in ("one", "two", "three")}
    monkeypatch.setattr(clickhouse_connect, "get_client", lambda *, host, **_: found[host])
    return found


def store(**more: Any) -> Store:
    return Store("http://one/d", hosts=[("two", 8123), ("three", 8123)], **more)


DOWN = OperationalError("connection refused")
READ_ONLY = DatabaseError("no Keeper", code=242)


@pytest.mark.parametrize("fault", [DOWN, READ_ONLY], ids=["down", "read only"])
def test_rows_go_to_the_next_host_with_the_same_token(hosts: Hosts, fault: Exception) -> None:
    hosts["one"].fault = hosts["two"].fault = fault
    asked = store()
    asked.insert("t", b"{}", token="x")
    (one,), (two,), (three,) = (hosts[name].asked for name in hosts)
    assert one == two == three
    # And goes on there.
    asked.insert("t", b"[]", token="y")
    assert [len(hosts[name].asked) for name in hosts] == [1, 1, 2]


def test_questions_go_to_the_next_host(hosts: Hosts) -> None:
    hosts["one"].fault = DOWN
    assert store().query("SELECT 1") == b"answer"


def test_where_no_host_answers_each_was_asked_once(hosts: Hosts) -> None:
    for host in hosts.values():
        host.fault = DOWN
    asked = store()
    with pytest.raises(Unreachable):
        asked.insert("t", b"{}", token="x")
    assert [len(hosts[name].asked) for name in hosts] == [1, 1, 1]
    hosts["one"].fault = None
    asked.insert("t", b"{}", token="x")


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda asked: asked.command("EXCHANGE TABLES a AND b"), Unreachable),
        (lambda asked: asked.query("SELECT nonsense"), StatementFailed),
    ],
    ids=["what may not be done twice", "what no host can do"],
)
def test_what_is_asked_once(hosts: Hosts, ask: Callable[[Store], Any], error: type[Exception]) -> None:
    hosts["one"].fault = DOWN if error is Unreachable else DatabaseError("no", code=47)
    with pytest.raises(error):
        ask(store())
    assert not hosts["two"].asked


def test_settings_go_along(hosts: Hosts) -> None:
    """Stored means stored on every shard, cluster or not: a worker may lack the setting."""
    store().insert("t", b"{}", token="x")
    assert hosts["one"].asked[-1][2]["distributed_foreground_insert"] == 1
    assert "insert_quorum" not in hosts["one"].asked[-1][2]
    spread = store(cluster=lambda _: whole(), insert_quorum="auto")
    spread.insert("t", b"{}", token="x")
    assert hosts["one"].asked[-1][2]["insert_quorum"] == "auto"
    spread.query("SELECT 1")
    assert hosts["one"].asked[-1][1] == {"distributed_product_mode": "global"}
    store().query("SELECT 1")
    assert hosts["one"].asked[-1][1] == {}


def test_a_statement_is_told_to_the_cluster(hosts: Hosts) -> None:
    spread = store(cluster=lambda _: whole())
    spread.command("DROP TABLE IF EXISTS session_rows_rebuilt")
    assert [sql for sql, _ in hosts["one"].asked] == [
        "DROP TABLE IF EXISTS `d`.`session_rows_rebuilt` ON CLUSTER `c` SYNC",
        "DROP TABLE IF EXISTS `d_shards`.`session_rows_rebuilt` ON CLUSTER `c` SYNC",
    ]
    assert all(given["settings"]["alter_sync"] == 2 for _, given in hosts["one"].asked)


def test_where_the_system_tables_of_a_table_are(hosts: Hosts) -> None:
    spread, one = store(cluster=lambda _: whole()), store()
    assert [spread.database_of(name) for name in ("session_rows", "ledger_records")] == ["d_shards", "d"]
    assert [one.database_of(name) for name in ("session_rows", "ledger_records")] == ["d", "d"]
    assert spread.on_all_hosts("system.mutations") == "clusterAllReplicas('c', system.mutations)"
    assert one.on_all_hosts("system.mutations") == "system.mutations"
    assert not hosts["one"].asked


@pytest.mark.parametrize(
    ("sql", "waits"),
    [
        ("EXCHANGE TABLES session_rows AND session_rows_rebuilt", True),
        ("INSERT INTO told_session_rows SELECT * FROM sessions_as_told", True),
        ("INSERT INTO saved_filter_rows SELECT * FROM saved_filters", False),
        ("DROP TABLE session_rows_rebuilt", False),
    ],
)
def test_all_replicas_catch_up_before_rows_are_taken_from_one(hosts: Hosts, sql: str, waits: bool) -> None:
    spread = store(cluster=lambda _: whole())
    hosts["one"].raw_query = lambda *_, **__: b"d_shards\tsession_rows\n"  # type: ignore[method-assign]
    spread.command(sql)
    synced = hosts["one"].asked[0][0] == "SYSTEM SYNC REPLICA ON CLUSTER `c` `d_shards`.`session_rows`"
    assert synced == waits
