"""The JSON Schema refuses what the decoder refuses, and takes what it takes, but for what no schema can say."""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pipeline.formats.rejected import Reason
from tests.support.envelopes import envelope, no_decoder_counts, no_schema_can_say, refused
from tests.support.examples import ROOT, VALIDATOR

(_OLD,) = (ROOT / "schemas" / "released").glob("*/native-envelope.schema.json")
RELEASED = Draft202012Validator(json.loads(_OLD.read_text("utf-8")))
DOCUMENTS = 1_500
"""Of each of the seeds. A campaign takes more of both."""


@pytest.mark.parametrize("seed", range(2))
def test_schema_and_decoder_agree(seed: int) -> None:
    rng, seen = Random(seed), Counter[Any]()
    for _ in range(DOCUMENTS):
        document = envelope(rng)
        faults, told = refused(document), VALIDATOR.is_valid(document)
        seen.update(fault.reason for fault in faults)
        seen["taken"] += not faults
        shown = json.dumps(document)[:3_000]
        if told:
            assert no_schema_can_say(faults), (faults, shown)
        else:
            assert faults or no_decoder_counts(document), shown
        # A schema may come to refuse what the decoder refuses, and nothing else.
        if not faults and not told:
            assert not RELEASED.is_valid(document), shown
    assert seen["taken"] > DOCUMENTS / 10
    assert set(seen) >= {
        *(Reason.UNKNOWN_VERSION, Reason.MISSING_FIELD, Reason.INVALID_TYPE, Reason.INVALID_VALUE),
        *(Reason.ID_LENGTH, Reason.TIME_OUT_OF_RANGE, Reason.NO_EVENTS, Reason.TOO_MANY_EVENTS),
        *(Reason.TOO_MANY_PROPERTIES, Reason.PROPERTY_TOO_LONG),
    }, "of what no document has, nothing is shown"
