"""The log of a worker: plain or JSON, and what libraries repeat is counted."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

from pipeline.logs import JsonFormatter, OnceAMinute


def record(name: str, message: str, *arguments: object, line: int = 1) -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, "/somewhere.py", line, message, arguments, None)


def test_what_a_library_repeats_is_said_once_a_minute_with_its_number() -> None:
    now_s = 0.0
    kept = OnceAMinute(lambda: now_s)
    first = record("aiokafka.conn", "Unable to connect to %s", "a:1")
    assert kept.filter(first) and first.getMessage() == "Unable to connect to a:1"
    for n in range(500):
        now_s = n / 10
        assert not kept.filter(record("aiokafka.conn", "Unable to connect to %s", f"a:{n}"))
    # Another place, another level, another logger are other messages.
    assert kept.filter(record("aiokafka.conn", "Something else", line=2))
    assert kept.filter(record("aiokafka.cluster", "Unable to connect to %s", "a:1"))
    now_s = 60.0
    again = record("aiokafka.conn", "Unable to connect to %s", "b:2")
    assert kept.filter(again)
    assert again.getMessage() == "Unable to connect to b:2 (and 500 times more in the minute before)"


def test_what_we_say_is_always_said() -> None:
    kept = OnceAMinute(lambda: 0.0)
    assert all(kept.filter(record("pipeline.roles.sink.sink", "the same")) for _ in range(10))
    assert all(kept.filter(record("pipeline", "the same")) for _ in range(10))
    assert [kept.filter(record("pipelines.of.others", "the same")) for _ in range(3)] == [True, False, False]


def test_an_entry_of_json_is_one_line_with_the_same_fields() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        entry = logging.LogRecord(
            "pipeline.x", logging.ERROR, "x.py", 1, "broke: %s", ("ä\u2028\n",), sys.exc_info()
        )
    line = JsonFormatter("sink").format(entry)
    assert "\n" not in line
    said = json.loads(line)
    assert (said["level"], said["logger"], said["role"]) == ("ERROR", "pipeline.x", "sink")
    assert said["message"] == "broke: ä\u2028\n" and said["error"] == "ValueError: two\nlines"
    assert said["time"].endswith("Z") and "Traceback" in said["stack"]
    quiet = json.loads(JsonFormatter().format(record("a", "b")))
    assert set(quiet) == {"time", "level", "logger", "role", "message"}


def test_a_worker_that_cannot_begin_says_so_in_json() -> None:
    script = (
        "import logging; from pipeline.logs import log_for_worker; log_for_worker('json', 'sink');"
        "logging.getLogger('pipeline.a').info('begun'); logging.getLogger('library').info('nothing');"
        "[logging.getLogger('library').warning('again') for _ in range(3)]"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert [json.loads(line)["message"] for line in ended.stderr.splitlines()] == ["begun", "again"]
