"""What an app's topics are like while it runs: all that it reads or writes, not only those assigned to it. Decides, and
reaches nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from pipeline.kafka.topic_identity import gone, has_other_count, made_anew_while_written

logger = logging.getLogger(__name__)


class TopicWatch:
    """What is wrong with topics, for as long as it is: each a line in the log when it begins, and one when it ends.

    That a topic which the app reads was made anew, or that keys belong elsewhere, stops the worker before it gets here.
    """

    def __init__(self) -> None:
        self.faults: dict[str, str] = {}
        """By topic, in words that name cause and remedy."""
        self._ids: dict[str, str] = {}

    def look(self, wanted: Mapping[str, int], ids: Mapping[str, str], counts: Mapping[str, int]) -> None:
        """`wanted` are the app's topics with how many partitions they should have; `ids` and `counts` are of those that
        exist, `ids` of a broker that gives some."""
        found: dict[str, str] = {}
        for topic, count in sorted(wanted.items()):
            was, now = self._ids.get(topic, ""), ids.get(topic, "")
            if topic not in counts:
                found[topic] = gone(topic)
            elif was and now and was != now:
                found[topic] = made_anew_while_written(topic, was, now)
            elif counts[topic] != count:
                found[topic] = has_other_count(topic, counts[topic], count)
            self._ids.setdefault(topic, now)
        for topic, reason in found.items():
            if self.faults.get(topic) != reason:
                logger.error("%s", reason)
        for topic in self.faults.keys() - found.keys():
            logger.info("%s is again as it should be", topic)
        self.faults = found

    def told(self) -> str:
        """Each fault as a line; empty without any."""
        return "".join(f"but {reason}\n" for reason in self.faults.values())
