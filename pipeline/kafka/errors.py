"""What goes wrong with Kafka, in words of our own. What aiokafka raises stays in `kafka/` and `streaming/`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka import errors

from pipeline.errors import PipelineError, Terminal, Transient


class KafkaFailure(PipelineError):
    """Kafka did not do what it was asked: one of the two below."""


class BrokerUnavailable(KafkaFailure, Transient):
    """Kafka did not answer, or not for longer than we were told to wait: start again later."""


class KafkaRefused(KafkaFailure, Terminal):
    """Kafka answered, and will not do it."""


class InstanceTaken(KafkaFailure, Terminal):
    """Another worker has joined the group under the same `PIPELINE_KAFKA_INSTANCE_ID`. To come back at once would throw
    that one out."""


# Not marked as such by aiokafka, which marks answers that are worth another request, not states that pass.
_PASSES = (
    errors.KafkaConnectionError,
    errors.KafkaTimeoutError,
    errors.KafkaUnavailableError,
    errors.NoBrokersAvailable,
    errors.NodeNotReadyError,
    errors.BrokerNotAvailableError,
    errors.RequestTimedOutError,
    errors.CoordinatorLoadInProgressError,
    errors.CoordinatorNotAvailableError,
    TimeoutError,
    ConnectionError,
)


_DENIED = (
    errors.AuthenticationFailedError,
    errors.AuthenticationMethodNotSupported,
    errors.ClusterAuthorizationFailedError,
    errors.GroupAuthorizationFailedError,
    errors.SaslAuthenticationFailed,
    errors.TopicAuthorizationFailedError,
    errors.TransactionalIdAuthorizationFailed,
    errors.UnsupportedSaslMechanismError,
)
_RIGHTS = (
    "Check PIPELINE_KAFKA_SECURITY, PIPELINE_KAFKA_USERNAME, PIPELINE_KAFKA_PASSWORD and that user's rights"
)


@contextmanager
def kafka_errors(bootstrap: str) -> Iterator[None]:
    """Within, what aiokafka raises is raised as `BrokerUnavailable` or `KafkaRefused`.

    `bootstrap` is the address to name.
    """
    try:
        yield
    except (errors.KafkaError, TimeoutError, ConnectionError) as error:
        said = str(error) or type(error).__name__
        if isinstance(error, _PASSES) or getattr(error, "retriable", False):
            raise BrokerUnavailable(
                f"Kafka at {bootstrap} does not answer: {said}. Check that it runs and that PIPELINE_KAFKA_BOOTSTRAP "
                "names it, then try again"
            ) from error
        hint = f". {_RIGHTS}" if isinstance(error, _DENIED) else ""
        raise KafkaRefused(f"Kafka at {bootstrap} refused: {said}{hint}") from error
