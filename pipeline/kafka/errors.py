"""What aiokafka raises, by the name that callers catch it under."""

from __future__ import annotations

from aiokafka.errors import KafkaConnectionError, KafkaError

__all__ = ["KafkaConnectionError", "KafkaError"]
