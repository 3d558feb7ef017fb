"""How topics are set up, as the broker has it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import IncompatibleBrokerVersion, for_code

from pipeline.kafka.admin import admin_client
from pipeline.kafka.connection import KafkaConnection


async def settings_of_topics(
    connection: KafkaConnection, names: Collection[str]
) -> dict[str, Mapping[str, str]]:
    """The settings in force of topics, a broker's defaults among them; without those that this user may not see, and
    empty for a broker that cannot tell. Raises `KafkaFailure`."""
    asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in sorted(names)]
    async with admin_client(connection) as client:
        try:
            answers = await client.describe_configs(asked)
        except (IncompatibleBrokerVersion, NotImplementedError):
            return {}
    found: dict[str, Mapping[str, str]] = {}
    for answer in answers:
        for code, _, _, topic, entries in answer.resources:
            if not for_code(code).errno:
                found[topic] = {name: value for name, value, *_ in entries}
    return found
