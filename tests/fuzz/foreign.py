"""Targets: records of `dead-letters`, which others may write too, and settings, which people write."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import orjson

from pipeline.domain.display import Displays
from pipeline.domain.policy import Policies
from pipeline.domain.privacy import Privacy, Samplings
from pipeline.domain.retention import Retentions
from pipeline.formats.limits import MAX_RECORD_BYTES
from pipeline.formats.rejected import MAX_DETAIL_CHARS, Reason
from pipeline.settings import InvalidSettings, as_environment, load, variables
from pipeline.storage.columns import DEAD_LETTER_COLUMNS
from pipeline.storage.dead_letter import row_of_dead_letter
from tests.fuzz.mutate import JsonMutator, MsgpackMutator
from tests.fuzz.target import Seen, check_row, require
from tests.fuzz.vocabulary import NOW_MS, NUMBERS, TEXTS

_PLACE = ("dead-letters", 3, 7)


class DeadLetterTarget:
    """`refusal.row_of_dead_letter`: any record of the topic becomes a row that ClickHouse takes.

    An input is MessagePack: headers (a value may be null), key, value, record time.
    """

    limit_ms: float | None = 50.0

    def __init__(self) -> None:
        names = ("reason", "detail", "topic", "partition", "offset", "record_ms", "event_index", "cut_from")
        words = (
            *map(
                bytes,
                (b"\xff", b"-1", b"1" * 5_000, b"\xd9\xa3", b" 7", b"18446744073709551616", b"4294967296"),
            ),
        )
        self._mutator = MsgpackMutator(names, (*words, *names, None, b"invalid_utf8", *NUMBERS))

    def seeds(self) -> list[bytes]:
        headers = [
            ("reason", b"invalid_value"),
            ("detail", b"events[0].id: must not hold '\\x00'"),
            ("topic", b"sdk-events"),
            ("partition", b"3"),
            ("offset", b"17"),
            ("record_ms", b"1764000000000"),
            ("event_index", b"0"),
        ]
        letters = [
            (headers, b"a/b", b'{"v":1}', NOW_MS),
            (headers[:-1], None, b'\xff\0\n"', 0),
            ([], None, None, -1),
        ]
        return [msgspec.msgpack.encode(letter) for letter in letters]

    def mutate(self, data: bytes, random: Random) -> bytes:
        return self._mutator.mutate(data, random)

    def at_limit(self, data: bytes, random: Random) -> bytes | None:
        headers, key, value, record_ms = self._letter(data)
        huge = (value or random.choice((b"\0", b'\\"', b"x", b"\xff")))[:64]
        value = huge * (MAX_RECORD_BYTES // len(huge))
        return msgspec.msgpack.encode((headers, key, value, record_ms))

    def prepared(self, data: bytes) -> Callable[[], object]:
        headers, key, value, record_ms = self._letter(data)
        return lambda: row_of_dead_letter(headers, key=key, value=value, record_ms=record_ms, place=_PLACE)

    def check(self, data: bytes) -> Seen:
        headers, key, value, record_ms = self._letter(data)
        row = row_of_dead_letter(headers, key=key, value=value, record_ms=record_ms, place=_PLACE)
        parsed = check_row(row, DEAD_LETTER_COLUMNS, binary=True)
        require(len(parsed) == len(DEAD_LETTER_COLUMNS), "a dead letter's row has every column")
        require(parsed["reason"] in list(Reason), "its reason is of the list")
        # Latin-1 makes several characters of one, so this bounds bytes.
        require(len(parsed["detail"]) <= 4 * MAX_DETAIL_CHARS, "its detail is bounded")
        require(parsed["value"].encode("latin-1") == (value or b""), "its bytes are unchanged")
        foreign = parsed["reason"] == Reason.UNKNOWN
        return Seen(not foreign, (foreign, parsed["event_index"] < 0, parsed["partition"] == _PLACE[1]))

    @staticmethod
    def _letter(data: bytes) -> tuple[list[tuple[str, Any]], bytes | None, bytes | None, int]:
        """What aiokafka may hand over: header names are text, header values bytes or None, times 64 bits."""
        try:
            found = msgspec.msgpack.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            found = data
        parts = found if isinstance(found, list) and len(found) == 4 else [[], None, data, 0]
        headers, key, value, record_ms = parts
        pairs = (
            [pair for pair in headers if isinstance(pair, list) and len(pair) == 2]
            if isinstance(headers, list)
            else []
        )
        named = [(name, _bytes(told)) for name, told in pairs if isinstance(name, str)]
        in_range = type(record_ms) is int and -(2**63) <= record_ms < 2**63
        return named, _bytes(key), _bytes(value), record_ms if in_range else 0


def _bytes(value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else str(value).encode()[:10_000]


class SettingsTarget:
    """`settings.load`: only `InvalidSettings`; what it takes is the same after a turn through the environment.

    An input is JSON: `env`, an object of texts, and `toml`, the text of the file.
    """

    limit_ms: float | None = None

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-settings-")
        values = (
            "30m",
            "2s",
            "0s",
            "1ms",
            "400d",
            "-1",
            "8",
            "٣",
            "SASL_SSL",
            "SSL",
            "PLAIN",
            "h:1",
            "http://h:1/d",
        )
        more = (
            "http://[/d",
            "http://[::1]:99999/d",
            "[::1]:9092",
            "h:1,",
            "1" * 5_000,
            "1" * 300 + "d",
            "\udcff",
            "\0",
        )
        self._mutator = JsonMutator(
            (*variables(), "env", "toml", "PIPELINE_PARTITION"), (*values, *more[:-2], "\0")
        )

    def seeds(self) -> list[bytes]:
        files = (
            'partitions = 4\ninactivity_timeout = "10m"\n[apps."org.example"]\nmax_duration = "1h"\n',
            "partitions = 0x" + "f" * 40,
            f"partitions = {'9' * 5_000}",
            f"a = {'[' * 2_000}",
            f"partitions = {'[' * 200}{']' * 200}",
            "[apps]\na = 1\n",
            "apps = 1\nkafka_ca_file = '\\u0000'\n",
            'kafka_ca_file = "\\u0000"\n',
            "partitions = 1979-05-27T07:32:00Z\nsink_max_rows = inf\nsink_max_bytes = 1e3\n",
            "",
        )
        environment = as_environment(load({}))
        seeds = [
            {"env": environment, "toml": ""},
            {"env": {}, "toml": ""},
            {"env": {"PIPELINE_CONFIG": "\0"}},
        ]
        return [orjson.dumps(seed) for seed in (*seeds, *({"env": {}, "toml": text} for text in files))]

    def mutate(self, data: bytes, random: Random) -> bytes:
        try:
            tree = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
            text = orjson.loads(bytes(tree["toml"]))
        except (msgspec.DecodeError, ValueError, RecursionError, KeyError):
            return self._mutator.mutate(data, random)
        if isinstance(text, str) and text and random.random() < 0.6:
            at = random.randrange(len(text))
            put = random.choice(
                (
                    *TEXTS[:40],
                    "=",
                    "[",
                    "]",
                    "[[",
                    '"""',
                    "\n",
                    "{a=",
                    "apps.x.y = '1s'\n",
                    "\ndata_dir = 1\n",
                )
            )
            text = text[:at] + put + text[at + random.choice((0, 0, 1, 5)) :]
            tree["toml"] = msgspec.Raw(orjson.dumps(text))
            return msgspec.json.encode(tree)
        return self._mutator.mutate(data, random)

    def at_limit(self, data: bytes, random: Random) -> bytes | None:
        return None

    def prepared(self, data: bytes) -> Callable[[], object]:
        return lambda: self._outcome(data)

    def _outcome(self, data: bytes) -> object:
        try:
            return load(self._environment(data))
        except InvalidSettings as error:
            return error

    def check(self, data: bytes) -> Seen:
        outcome = self._outcome(data)
        if isinstance(outcome, InvalidSettings):
            problems = str(outcome).split("; ")
            return Seen(False, tuple(problem.split(":")[0] for problem in problems)[:4])
        settings: Any = outcome
        again = load(as_environment(settings))
        expected = replace(
            settings,
            policies=Policies(settings.policies.default),
            retentions=Retentions(settings.retentions.default),
            samplings=Samplings(settings.samplings.default),
            shown=Displays(settings.shown.default),
            privacy=Privacy(),
        )
        require(again == expected, "settings are the same after a turn through the environment")
        return Seen(True, (len(settings.policies.by_app), settings == load({})))

    def _environment(self, data: bytes) -> dict[str, str]:
        try:
            tree = orjson.loads(data)
        except orjson.JSONDecodeError:
            tree = {"toml": data.decode("utf-8", "replace")}
        tree = tree if isinstance(tree, dict) else {}
        given = tree.get("env")
        environment = (
            {name: str(text) for name, text in given.items() if not isinstance(text, dict | list)}
            if isinstance(given, dict)
            else {}
        )
        if isinstance(text := tree.get("toml"), str) and text:
            path = Path(self._folder.name) / "settings.toml"
            path.write_bytes(text.encode())
            environment["PIPELINE_CONFIG"] = str(path)
        return environment
