"""What a process writes to stderr, a line an entry, plain or as JSON. What libraries repeat is counted instead."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

_PLAIN = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_OWN = "pipeline"
_AGAIN_S = 60.0
"""How long what a library said is not said again."""
_MOST_KINDS = 1_000
"""Of messages that are remembered. Each has a place in the source, so there are fewer."""


def log_for_worker(form: str = "plain", role: str = "") -> None:
    """Log to stderr; libraries speak up from WARNING on, and each of their messages once a minute.

    `form` is `plain` or `json`; `role` stands in each entry of JSON.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(role) if form == "json" else _PlainFormatter(_PLAIN))
    handler.addFilter(OnceAMinute())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger(_OWN).setLevel(logging.INFO)
    # One line a second for each broker that does not answer; we say it ourselves, less often.
    logging.getLogger("aiokafka.client").setLevel(logging.CRITICAL)


def log_for_command() -> None:
    """Only what we report while waiting; a failure is one line, without messages of libraries."""
    logging.basicConfig(stream=sys.stderr, level=logging.CRITICAL, format="%(message)s")
    logging.getLogger(_OWN).setLevel(logging.WARNING)
    # A level would not do: libraries are loaded later, and one sets another's.
    for handler in logging.getLogger().handlers:
        handler.addFilter(logging.Filter(_OWN))


class OnceAMinute(logging.Filter):
    """Lets through what this package says, and of libraries each message once a minute, with how often it came since.

    Without Kafka aiokafka writes some hundred lines a second that say nothing new.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is in seconds."""
        super().__init__()
        self._clock = clock
        self._kinds: dict[tuple[str, int, str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == _OWN or record.name.startswith(f"{_OWN}."):
            return True
        # A message by where it is said: its words may hold numbers that always differ.
        kind = (record.name, record.levelno, record.pathname, record.lineno)
        now_s = self._clock()
        said_s, held_back = self._kinds.get(kind, (-_AGAIN_S, 0))
        if now_s - said_s < _AGAIN_S:
            self._kinds[kind] = said_s, held_back + 1
            return False
        if len(self._kinds) >= _MOST_KINDS:
            self._kinds.clear()
        self._kinds[kind] = now_s, 0
        if held_back:
            record.msg = f"{record.getMessage()} (and {held_back} times more in the minute before)"
            record.args = ()
        return True


class _PlainFormatter(logging.Formatter):
    """Times in UTC, as everywhere in the pipeline."""

    converter = staticmethod(time.gmtime)
    default_msec_format = "%s.%03dZ"
    default_time_format = "%Y-%m-%dT%H:%M:%S"


class JsonFormatter(logging.Formatter):
    """An object a line: `time` (UTC), `level`, `logger`, `role`, `message`, and of an exception `error` and `stack`."""

    def __init__(self, role: str = "") -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        said: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "role": self._role,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            said["error"] = f"{record.exc_info[0].__name__}: {record.exc_info[1]}"
            said["stack"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False)
