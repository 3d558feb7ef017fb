"""Sends events from Python services and test benches to Kafka: `Producer` with threads, `AsyncProducer` in a loop.

    with Producer("localhost:9092") as producer:
        phone = Device("org.example.app", "phone-1", resource={"service.version": "1.2"}, user=User("u1"))
        producer.send(phone, events.foreground())

schemas/README.md, "From Python", says what it promises.
"""

from pipeline.kafka.connection import KafkaConnection
from pipeline.sdk import events
from pipeline.sdk.asynchronous import AsyncProducer
from pipeline.sdk.box import SendCounts
from pipeline.sdk.choices import Choices, WhenFull
from pipeline.sdk.device import Refused, User
from pipeline.sdk.device import SdkDevice as Device
from pipeline.sdk.events import SdkEvent as Event
from pipeline.sdk.events import event
from pipeline.sdk.outcome import NotSent, ProducerClosed, QueueFull, SendFailure, Undelivered
from pipeline.sdk.producer import Producer

__all__ = [
    "AsyncProducer",
    "Choices",
    "Device",
    "Event",
    "KafkaConnection",
    "NotSent",
    "Producer",
    "ProducerClosed",
    "QueueFull",
    "Refused",
    "SendCounts",
    "SendFailure",
    "Undelivered",
    "User",
    "WhenFull",
    "event",
    "events",
]
