"""An array of native envelopes, as HTTP takes it and files may have it: cut into its elements, each as it came."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

import msgspec

from pipeline.formats.limits import MAX_CONTAINERS
from pipeline.formats.rejected import Reason, Rejected

MAX_ENVELOPES = 1_000
"""In one array: each becomes a record."""
_SHAPE_BYTES = 2_000_000
"""For each of so many begun an array may hold as many arrays and objects as a record: events of some 150 bytes have
fewer, and each costs some time, however short it is."""
# As in `formats/mending.py`: a text without an end goes to the end of all, or this would take quadratic time.
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)
_BLANKS = b" \t\r\n\xef\xbb\xbf"

_raws = msgspec.json.Decoder(list[msgspec.Raw])


def is_array(body: bytes) -> bool:
    """Whether it begins as an array does."""
    return body.lstrip(_BLANKS).startswith(b"[")


def elements_of(body: bytes) -> Sequence[bytes] | Rejected:
    """The elements of an array as they came, JSON or not; or why it is none."""
    allowed = MAX_CONTAINERS * -(-len(body) // _SHAPE_BYTES)
    # The first count has those of texts as well, and takes a hundredth of the time.
    if body.count(b"{") + body.count(b"[") > allowed and _opens_more(body, allowed):
        return Rejected(
            Reason.TOO_MANY_VALUES, f"at most {allowed} arrays and objects in a body of this size"
        )
    try:
        found: Sequence[bytes] | None = [bytes(raw) for raw in _raws.decode(body)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # One of them may be mendable: then it is not strict JSON, and neither is the array.
        found = _cut(body.strip(_BLANKS))
    if found is None:
        return Rejected(Reason.MALFORMED_JSON, "the array has no end, or something follows it")
    if not found:
        return Rejected(Reason.NO_EVENTS, "the array has no envelope")
    if len(found) > MAX_ENVELOPES:
        return Rejected(Reason.TOO_MANY_VALUES, f"at most {MAX_ENVELOPES} envelopes, not {len(found)}")
    return found


def _opens_more(body: bytes, allowed: int) -> bool:
    openings = (token for token in _TOKENS.finditer(body) if token[0] in (b"{", b"["))
    return next(islice(openings, allowed, None), None) is not None


def _cut(array: bytes) -> Sequence[bytes] | None:
    """The elements of a text that begins with `[`, by its brackets and commas outside of texts. None if it does not end
    with the bracket that closes it."""
    depth, begin = 0, 1
    found = []
    for token in _TOKENS.finditer(array):
        sign = token[0]
        if sign in (b"[", b"{"):
            depth += 1
        elif sign in (b"]", b"}"):
            depth -= 1
            if depth == 0:
                found.append(array[begin : token.start()].strip(_BLANKS))
                return found if sign == b"]" and token.end() == len(array) else None
        elif sign == b"," and depth == 1:
            found.append(array[begin : token.start()].strip(_BLANKS))
            begin = token.end()
    return None
