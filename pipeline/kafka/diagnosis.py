"""Why Kafka cannot be reached, in words of cause and remedy.

aiokafka says "Unable to bootstrap" whatever the cause, and tells that to its log alone; so each server is tried once
more, and what is raised then is read.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import NamedTuple

from aiokafka import errors
from aiokafka.conn import create_conn

from pipeline.kafka.connection import KafkaConnection

_ANSWER_S = 4.0


class Cause(NamedTuple):
    """Why a server did not serve."""

    said: str
    is_lasting: bool
    """It stays until somebody changes settings, rights or certificates: waiting does not help."""


async def why_unreachable(connection: KafkaConnection) -> Cause | None:
    """The cause that the servers of a connection give; None if one of them answers after all.

    One server that may answer later is enough for the cause not to be lasting. Takes some seconds where nobody answers.
    Raises UnusablePath where the CA file is none.
    """
    causes = [await _try(connection, server) for server in connection.servers]
    known = [cause for cause in causes if cause is not None]
    if len(known) < len(causes):
        return None
    return next((cause for cause in known if not cause.is_lasting), known[0])


async def _try(connection: KafkaConnection, server: str) -> Cause | None:
    host, _, port = server.rpartition(":")
    options = {
        name: value for name, value in connection.client_options().items() if name != "bootstrap_servers"
    }
    try:
        opened = await asyncio.wait_for(
            create_conn(host.strip("[]"), int(port), request_timeout_ms=int(_ANSWER_S * 1_000), **options),
            _ANSWER_S,
        )
    except (errors.KafkaError, OSError, TimeoutError) as error:
        return _cause(connection, server, error)
    opened.close()
    return None


def _cause(connection: KafkaConnection, server: str, error: BaseException) -> Cause:
    security = f"PIPELINE_KAFKA_SECURITY is {connection.security}"
    match error:
        case errors.SaslAuthenticationFailed() | errors.AuthenticationFailedError():
            return Cause(
                f"{server} refused the login of {connection.username} by {connection.mechanism}: check "
                "PIPELINE_KAFKA_USERNAME, PIPELINE_KAFKA_PASSWORD and PIPELINE_KAFKA_MECHANISM",
                True,
            )
        case errors.UnsupportedSaslMechanismError() | errors.AuthenticationMethodNotSupported():
            return Cause(
                f"{server} takes no login by {connection.mechanism} (PIPELINE_KAFKA_MECHANISM)", True
            )
        case ssl.SSLCertVerificationError():
            return Cause(
                f"the certificate of {server} is not trusted: {error.verify_message}. Name the authority that signed "
                "it in PIPELINE_KAFKA_CA_FILE, and the server by a name in its certificate",
                True,
            )
        case ssl.SSLError() if "ALERT" in (error.reason or ""):
            return Cause(f"{server} ended the TLS handshake: {error.reason}", True)
        case socket.gaierror():
            return Cause(f"the name in {server} is not known here", False)
        case ConnectionRefusedError():
            return Cause(f"nothing listens at {server}", False)
        case TimeoutError():
            return Cause(f"{server} gave no answer within {_ANSWER_S:.0f} s", False)
        case OSError() if error.strerror and not isinstance(error, (ssl.SSLError, ConnectionError)):
            return Cause(f"{server}: {error.strerror}", False)
        case _:
            # So do a broker that is starting and what stands before one: it may pass.
            wants = "not speak TLS" if connection.security.endswith("SSL") else "want TLS or a login"
            return Cause(f"{server} closes the connection: it may {wants}, and {security}", False)
