"""Dead letters of a body, sent again as `dead-letters replay` does: without headers, under the key that is kept."""

from __future__ import annotations

import json
from collections import Counter

from pipeline.formats.edge import OPEN_EDGE, Edge
from pipeline.formats.format import NOTHING_BESIDE, Beside, Format
from pipeline.formats.rejected import Rejected
from pipeline.formats.translation import Translation
from pipeline.storage.dead_letter import DeadLetter, dead_letters_of, let_in

Outcome = Translation | Rejected


def letters_of(
    format: Format, value: bytes, record_ms: int, beside: Beside = NOTHING_BESIDE, edge: Edge = OPEN_EDGE
) -> list[DeadLetter]:
    """The dead letters that the router writes of a record."""
    outcome = translated(format, value, record_ms, beside)
    key = format.kept_key_of(beside.headers, beside.key)
    faults = [outcome] if isinstance(outcome, Rejected) else outcome.refused
    letters = dead_letters_of(format.topic, 0, 0, record_ms=record_ms, key=key, value=value, faults=faults)
    return [let_in(each, edge) for each in letters]


def sent_again(format: Format, letter: DeadLetter) -> Outcome:
    """What comes of a dead letter."""
    return translated(format, letter.value or b"", letter.record_ms, Beside(key=letter.key))


def translated(format: Format, value: bytes, record_ms: int, beside: Beside) -> Outcome:
    assert format.translate is not None
    return format.translate(value, record_ms, beside)


def ids_of(outcome: Outcome) -> list[str]:
    """The ids of the events."""
    if isinstance(outcome, Rejected):
        return []
    return [event["id"] for record in outcome.records for event in json.loads(record.value)["events"]]


def reasons_of(outcome: Outcome) -> Counter[str]:
    """How often something was refused for which reason."""
    faults = [outcome] if isinstance(outcome, Rejected) else outcome.refused
    return Counter(str(each.reason) for each in faults)


def check_replayed(format: Format, value: bytes, record_ms: int, beside: Beside = NOTHING_BESIDE) -> None:
    """Each dead letter of a body comes to the same refusals again, and to no event that the body had not given."""
    outcome = translated(format, value, record_ms, beside)
    given, refused = set(ids_of(outcome)), reasons_of(outcome)
    letters = letters_of(format, value, record_ms, beside)
    # Those of OTLP are of one record each; of all others they are of one reason.
    again = [sent_again(format, letter) for letter in letters]
    assert {id_ for each in again for id_ in ids_of(each)} <= given
    for letter, each in zip(letters, again, strict=True):
        reason = str(letter.rejected.reason)
        assert 0 < reasons_of(each)[reason] <= refused[reason], (letter, each)
    if len(letters) == len(refused):
        for letter, each in zip(letters, again, strict=True):
            reason = str(letter.rejected.reason)
            assert reasons_of(each)[reason] == refused[reason], (letter, each)
