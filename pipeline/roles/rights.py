"""What each program has to be allowed in Kafka, and no more: the access control list of its user.

`session-pipeline check` holds a user to it, `deploy/KAFKA-RIGHTS.md` shows it, and a test runs every role with nothing
else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from pipeline.formats import registry
from pipeline.roles.topology import ROLES, all_read, group_of, plan, reads
from pipeline.topics import DEAD_LETTERS, ERASURES, EVENT_COPIES, LISTS, POLICIES, SDK_EVENTS, SESSIONS, STATE

TOPIC, GROUP, TRANSACTIONAL_ID, CLUSTER = "Topic", "Group", "TransactionalId", "Cluster"
"""Kinds of resources, by the names that Kafka's own tools have for them."""
THE_CLUSTER = "kafka-cluster"
"""The name of the only resource of its kind."""


class Right(NamedTuple):
    """What a user may do with a resource. Read and Write bring Describe with them, as Kafka has it."""

    resource: str
    name: str
    operations: tuple[str, ...]
    """By the names of Kafka's own tools: Read, Write, Create, Describe, …"""
    is_prefix: bool = False
    """Of all resources whose names begin with `name`."""


OPERATORS = "operator"
"""Whoever runs `migrate`, `status` and the dashboard's page of the pipeline."""
RECEIVER, REBUILDER, ERASER, REPLAYER, REPARTITIONER = "receive", "rebuild", "erase", "replay", "repartition"
PUBLISHER = "policies"
USERS = (*ROLES, RECEIVER, OPERATORS, REBUILDER, ERASER, REPLAYER, REPARTITIONER, PUBLISHER)
"""Programs that have a list of their own. `worker --role all` needs those of the three roles."""


def rights(user: str) -> tuple[Right, ...]:
    """The list of one of USERS. Raises KeyError for another."""
    return tuple(_BY_USER[user]())


def topics_of(role: str) -> frozenset[str]:
    """The topics that a role reads or writes; of `all`, all of them."""
    roles = ROLES if role == "all" else (role,)
    return frozenset(right.name for each in roles for right in rights(each) if right.resource == TOPIC)


def _worker(role: str, writes: tuple[str, ...]) -> Iterator[Right]:
    read = (*reads()[role], *_LISTS[role])
    for topic in dict.fromkeys((*read, *writes)):
        operations = tuple(
            operation for operation, names in (("Read", read), ("Write", writes)) if topic in names
        )
        yield Right(TOPIC, topic, operations)
    yield Right(GROUP, group_of(role), ("Read",))


_LISTS: Mapping[str, tuple[str, ...]] = {
    "router": (POLICIES,),
    "sessionizer": LISTS,
    "sink": LISTS,
}
"""Topics that a role reads as a whole, whoever else reads them."""


def _sessionizer() -> Iterator[Right]:
    # The first for what producers write by an earlier number of partitions.
    yield from _worker("sessionizer", (SDK_EVENTS, SESSIONS, EVENT_COPIES, DEAD_LETTERS))
    yield from _changelog()


def _changelog() -> Iterator[Right]:
    """To read what is kept of devices, and to write it as the only one (`kafka/fence.py`)."""
    yield Right(TOPIC, STATE, ("Read", "Write"))
    yield Right(TRANSACTIONAL_ID, f"{STATE}-", ("Write", "Describe"), is_prefix=True)


def _groups() -> Iterator[Right]:
    """To see how far the workers have come."""
    for role in ROLES:
        yield Right(GROUP, group_of(role), ("Describe",))


def _receiver() -> Iterator[Right]:
    for topic in registry.routed_topics():
        yield Right(TOPIC, topic, ("Write",))
    yield Right(TOPIC, POLICIES, ("Read",))


def _operator() -> Iterator[Right]:
    yield Right(CLUSTER, THE_CLUSTER, ("Create",))
    for topic in plan(1, 0):
        yield Right(TOPIC, topic, ("Describe", "DescribeConfigs"))
    yield from _groups()


def _rebuilder() -> Iterator[Right]:
    for topic in all_read():
        yield Right(TOPIC, topic, ("Describe",))
    yield from _groups()
    yield from _changelog()


def _eraser() -> Iterator[Right]:
    yield Right(TOPIC, SDK_EVENTS, ("Describe", "Write"))
    yield Right(TOPIC, ERASURES, ("Write",))
    for topic in (*(name for name in all_read() if name != SDK_EVENTS), STATE):
        yield Right(TOPIC, topic, ("Describe", "DescribeConfigs"))
    yield from _groups()


def _publisher() -> Iterator[Right]:
    yield Right(TOPIC, SDK_EVENTS, ("Write",))
    yield Right(TOPIC, POLICIES, ("Read", "Write"))


def _replayer() -> Iterator[Right]:
    """Letters go to the topic that they came from, so to any that a worker refuses something of."""
    for topic in dict.fromkeys((*(each.topic for each in registry.FORMATS), SESSIONS, EVENT_COPIES)):
        yield Right(TOPIC, topic, ("Write",))


def _repartitioner() -> Iterator[Right]:
    for topic in plan(1, 0):
        if topic == STATE:
            yield Right(TOPIC, topic, ("Read", "Write", "Describe", "Alter"))
        elif topic == SDK_EVENTS:
            yield Right(TOPIC, topic, ("Read", "Describe", "Alter"))
        elif topic in (SESSIONS, DEAD_LETTERS):
            yield Right(TOPIC, topic, ("Write", "Describe", "Alter"))
        elif topic not in LISTS:
            yield Right(TOPIC, topic, ("Describe", "Alter"))
    for role in ROLES:
        yield Right(GROUP, group_of(role), ("Describe",) if role == "router" else ("Read", "Describe"))
    yield Right(TRANSACTIONAL_ID, f"{STATE}-", ("Write", "Describe"), is_prefix=True)


_BY_USER: Mapping[str, Callable[[], Iterator[Right]]] = {
    "router": lambda: _worker("router", (SDK_EVENTS, DEAD_LETTERS)),
    "sessionizer": _sessionizer,
    "sink": lambda: _worker("sink", (DEAD_LETTERS,)),
    RECEIVER: _receiver,
    OPERATORS: _operator,
    REBUILDER: _rebuilder,
    ERASER: _eraser,
    REPLAYER: _replayer,
    REPARTITIONER: _repartitioner,
    PUBLISHER: _publisher,
}
