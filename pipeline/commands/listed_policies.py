"""Following the list of published policies, for a program that does not read them among the events."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pipeline.formats.edge import Edge
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.whole_topic import follow
from pipeline.roles.published import Published
from pipeline.topics import POLICIES


async def follow_policies(connection: KafkaConnection, edge: Edge) -> None:
    """Let an edge be what the newest version says, until cancelled."""
    published = Published()

    def take(values: Sequence[bytes]) -> None:
        published.read(values)
        if values and (newest := published.newest):
            edge.become(newest.privacy, newest.samplings)

    await follow(connection, POLICIES, take, asyncio.Event())
