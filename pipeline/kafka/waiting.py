"""Waiting until a broker answers, for as long as waiting can help."""

from __future__ import annotations

import asyncio
import logging

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.diagnosis import why_unreachable
from pipeline.kafka.errors import BrokerUnavailable, KafkaRefused

logger = logging.getLogger(__name__)

_ATTEMPT_S = 5.0


async def wait_for_broker(
    connection: KafkaConnection, *, give_up_s: float, report_every_s: float = 5.0
) -> None:
    """Waits until a broker answers, with one warning every `report_every_s`.

    Raises BrokerUnavailable after `give_up_s`, and KafkaRefused at once for a cause that waiting does not end.
    """
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    reported_s = -report_every_s
    while True:
        try:
            await asyncio.wait_for(_answers(connection), _ATTEMPT_S)
            return
        except (KafkaError, OSError, TimeoutError) as error:
            cause = await why_unreachable(connection)
            said = cause.said if cause else f"{error!r}"
            if cause and cause.is_lasting:
                raise KafkaRefused(f"Kafka does not let us in: {said}") from error
            waited_s = loop.time() - started_s
            if waited_s >= give_up_s:
                if cause and not cause.is_of_kafka:
                    raise BrokerUnavailable(f"{said}, then start again (after {waited_s:.0f} s)") from error
                raise BrokerUnavailable(
                    f"Kafka at {connection.bootstrap} did not answer for {waited_s:.0f} s: {said}. Check that it "
                    "runs and that PIPELINE_KAFKA_BOOTSTRAP names it, then start again"
                ) from error
            if waited_s - reported_s >= report_every_s:
                reported_s = waited_s
                logger.warning(
                    "waiting for Kafka at %s (%.0f s so far, giving up after %.0f s): %s",
                    connection.bootstrap, waited_s, give_up_s, said,
                )  # fmt: skip
        await asyncio.sleep(min(1.0, give_up_s))


async def require_broker(connection: KafkaConnection) -> None:
    """Raises BrokerUnavailable or KafkaRefused, with the cause, if no broker answers now."""
    cause = await why_unreachable(connection)
    if cause and cause.is_lasting:
        raise KafkaRefused(f"Kafka does not let us in: {cause.said}")
    if cause and not cause.is_of_kafka:
        raise BrokerUnavailable(f"{cause.said}, then try again")
    if cause:
        raise BrokerUnavailable(
            f"Kafka at {connection.bootstrap} does not answer: {cause.said}. Check that it runs and that "
            "PIPELINE_KAFKA_BOOTSTRAP names it, then try again"
        )


async def _answers(connection: KafkaConnection) -> None:
    client = AIOKafkaAdminClient(**connection.client_options())
    try:
        await client.start()
    finally:
        await client.close()
