"""Sends events from Python services and test benches to Kafka: `Producer` with threads, `AsyncProducer` in a loop.

    with Producer("localhost:9092") as producer:
        phone = Device("org.example.app", "phone-1", resource={"service.version": "1.2"}, user=User("u1"))
        producer.send(phone, events.foreground())

schemas/README.md, "From Python", says what it promises.
"""

from pipeline.kafka.connection import KafkaConnection
from pipeline.sdk import events
from pipeline.sdk.asynchronous import AsyncProducer
from pipeline.sdk.box import Counts
from pipeline.sdk.choices import Choices, WhenFull
from pipeline.sdk.device import Device, Refused, User
from pipeline.sdk.events import Event, event
from pipeline.sdk.outcome import Failure, NotSent, ProducerClosed, QueueFull, Undelivered
from pipeline.sdk.producer import Producer

__all__ = [
    "AsyncProducer",
    "Choices",
    "Counts",
    "Device",
    "Event",
    "Failure",
    "KafkaConnection",
    "NotSent",
    "Producer",
    "ProducerClosed",
    "QueueFull",
    "Refused",
    "Undelivered",
    "User",
    "WhenFull",
    "event",
    "events",
]
