"""What settings say of policies, and following what was published where it is not read among the events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from pipeline.domain.policy_document import PolicyDocument
from pipeline.formats.edge import Edge
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.whole_topic import follow
from pipeline.roles.published import Published, document_with
from pipeline.settings import Settings
from pipeline.topics import POLICIES

logger = logging.getLogger(__name__)


def policies_of(settings: Settings) -> PolicyDocument:
    """What settings say of policies, as it would be published."""
    return document_with(
        settings.policy_version,
        settings.policies,
        settings.retentions,
        settings.samplings,
        settings.privacy,
    )


def taken(published: Published, values: Sequence[bytes]) -> PolicyDocument | None:
    """Take values of the topic, and log those that are not policies. The newest version, if any came with them."""
    if unread := published.read(values):
        logger.error("%d records of %s are not policies, and are skipped", unread, POLICIES)
    return published.newest if values else None


async def follow_policies(connection: KafkaConnection, edge: Edge) -> None:
    """Let an edge be what the newest version says, until cancelled."""
    published = Published()

    def take(values: Sequence[bytes]) -> None:
        if newest := taken(published, values):
            edge.become(newest.privacy, newest.samplings)

    await follow(connection, POLICIES, take, asyncio.Event())
