"""What is refused of a body, cut out of it: so a dead letter holds nothing that was taken, and a replay sends none of
that again (schemas/MAPPING.md, rule 7).

Privacy rules are applied to a dead letter, and ids of events without one of their own are hashes of what was sent: what
was taken once would come again under another id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.translation import Translation

Cut = Callable[[Sequence[int]], bytes | None]
"""Gets the indexes of what is refused, in order and each once (`NO_INDEX`: what is not an item); gives a body of only
that, or None where the body as it came is one."""
NO_INDEX = -1


def with_parts(translation: Translation, cut: Cut) -> Translation:
    """The same, each refusal with a body of all that is refused for its reason: as many dead letters as reasons."""
    if not translation.refused:
        return translation
    indexes: dict[Reason, dict[int, None]] = {}
    for each in translation.refused:
        index = NO_INDEX if each.event_index is None else each.event_index
        indexes.setdefault(each.reason, {})[index] = None
    parts = {reason: cut(tuple(some)) for reason, some in indexes.items()}
    refused = [
        Rejected(each.reason, each.detail, each.event_index, parts[each.reason])
        for each in translation.refused
    ]
    return replace(translation, refused=refused)
