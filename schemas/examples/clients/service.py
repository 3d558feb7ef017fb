"""A service that sends what it sees of a device: `python service.py localhost:9092`."""

import logging
import sys

from pipeline.sdk import Device, Producer, SendFailure, User, WhenFull, events


def failed(failure: SendFailure) -> None:
    """Called once for each event that is not delivered, with the decoder's reason and path, or Kafka's word."""
    logging.warning("%s %s: %s", failure.reason, failure.device, failure.detail)


def main(kafka: str) -> None:
    with Producer(kafka, on_error=failed, when_full=WhenFull.DROP) as producer:
        resource = {"service.version": "7.7.4", "os.name": "Android", "telemetry.sdk.name": "our-service"}
        phone = Device("org.example.shop", "5c2608b0-018b-4fdd", resource=resource, user=User("u1"))
        producer.send(phone, events.launch())
        producer.send(phone, events.foreground())
        producer.send(phone, events.view("cart"))
        producer.send(phone, events.request("GET", "https://example.org/cart", status=503))
        try:
            raise ValueError("no such item")
        except ValueError as error:
            producer.send(phone, events.exception(error))
        producer.send(phone, events.event("checkout.started", {"items": 3}))
        producer.send(phone, events.background())
        producer.flush(timeout_s=30)  # raises Undelivered, with what was not


if __name__ == "__main__":
    main(*sys.argv[1:])
