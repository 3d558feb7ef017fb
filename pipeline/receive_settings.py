"""The settings of `receive` alone."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.setting_values import HOST, ORIGINS, PORT_OR_ANY, duration, number, setting, text


@dataclass(frozen=True, slots=True)
class ReceiveSettings:
    """What can be set of `receive`; a part of `Settings`."""

    receive_host: str = setting(
        "127.0.0.1",
        HOST,
        "Address on which `receive` listens. Beyond this machine it needs `receive_keys`.",
    )
    receive_port: int = setting(
        4318,
        PORT_OR_ANY,
        "Port on which `receive` listens; 4318 is where OpenTelemetry SDKs send to.",
    )
    receive_keys: str = setting(
        "",
        text("a file"),
        "TOML file with the keys that senders need, and the apps of each; none are asked for if empty. It is read "
        'again when it changes. deploy/README.md, "Over HTTP".',
    )
    receive_origins: str = setting(
        "",
        ORIGINS,
        "Origins of the pages that may send, as browsers name them, or `*` for all. If none is named, pages that this "
        "machine serves may send to a `receive` that only this machine reaches.",
    )
    receive_max_body: int = setting(
        8_000_000,
        number(
            1_000,
            8_000_000,
            "no SDK could send anything",
            "Kafka's topics take no longer record",
            unit="bytes",
        ),
        "The longest body that `receive` takes, as it comes and decoded. Seldom changed.",
    )
    receive_budget: int = setting(
        64_000_000,
        number(
            16_000_000,
            10**12,
            "a few large bodies would fill it",
            "no machine has that much memory",
            unit="bytes",
        ),
        "Bytes of bodies that `receive` holds at once, from their arrival until Kafka has them; for more it answers "
        "429. It takes some four times as much memory. Raise it where many clients send at once.",
    )
    receive_drain_ms: int = setting(
        3_000,
        duration("0s", "10m", "time does not run backwards", "whoever stops it would not wait that long"),
        "How long `receive` still takes requests after SIGTERM, while `/readyz` says 503: a load balancer that checks "
        "it has then stopped sending requests here before the port closes. Set it to longer than that takes; to 0s "
        "where nothing is in front. Ctrl-C, or a second signal, stops at once.",
    )
    receive_connections: int = setting(
        2_000,
        number(10, 1_000_000, "a few clients would keep all others out", "no process has that many"),
        "Connections that `receive` keeps open at once; the limit of open files has to be above it.",
    )
