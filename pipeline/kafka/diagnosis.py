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

from pipeline.kafka.connection import OAUTHBEARER, KafkaConnection
from pipeline.kafka.tokens import NoTokenNow, TokenRefused
from pipeline.tls import now_utc, why_refused, why_untrusted

_ANSWER_S = 4.0
_ALERT_S = 2.0
"""How long to wait for what a server has against our certificate: in TLS 1.3 it says so after the handshake."""


class Cause(NamedTuple):
    """Why a server did not serve."""

    said: str
    is_lasting: bool
    """It stays until somebody changes settings, rights or certificates: waiting does not help."""
    is_of_kafka: bool = True
    """Not where something else keeps us out, such as a token endpoint: then all is in what is said."""


async def why_unreachable(connection: KafkaConnection) -> Cause | None:
    """The cause that the servers of a connection give; None if one of them answers after all.

    One server that may answer later is enough for the cause not to be lasting. Takes some seconds where nobody answers.
    Raises UnusablePath where a file of certificates cannot be used.
    """
    if connection.tokens:
        try:
            await connection.tokens.token()
        except (NoTokenNow, TokenRefused) as error:
            return _of_token(error)
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
        is_closed = isinstance(error, (errors.KafkaConnectionError, ConnectionError))
        alert = await _alert(connection, server) if is_closed else None
        return _cause(connection, server, alert or error)
    opened.close()
    return None


async def _alert(connection: KafkaConnection, server: str) -> ssl.SSLError | None:
    """What TLS itself has against us, which aiokafka tells of as a closed connection; None where it is not TLS."""
    context = connection.ssl_context()
    if context is None:
        return None
    host, _, port = server.rpartition(":")
    try:
        async with asyncio.timeout(_ALERT_S):
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=context)
            try:
                await reader.read(1)
            finally:
                writer.transport.abort()
    except ssl.SSLError as error:
        return error
    except (OSError, TimeoutError):
        return None
    return None


def _cause(connection: KafkaConnection, server: str, error: BaseException) -> Cause:
    security = f"PIPELINE_KAFKA_SECURITY is {connection.security}"
    match error:
        case NoTokenNow() | TokenRefused():
            return _of_token(error)
        case errors.SaslAuthenticationFailed() | errors.AuthenticationFailedError():
            return Cause(f"{server} refused the {_login_of(connection, error)}", True)
        case errors.UnsupportedSaslMechanismError() | errors.AuthenticationMethodNotSupported():
            return Cause(
                f"{server} accepts no login by {connection.mechanism} (PIPELINE_KAFKA_MECHANISM)", True
            )
        case ssl.SSLCertVerificationError():
            names = ("PIPELINE_KAFKA_CA_FILE", "PIPELINE_KAFKA_BOOTSTRAP")
            return Cause(why_untrusted(error, server, *names), True)
        case ssl.SSLError() if "ALERT" in (error.reason or ""):
            return Cause(why_refused(error.reason, server, connection.tls, now_utc()), True)
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


def _of_token(error: NoTokenNow | TokenRefused) -> Cause:
    return Cause(str(error), isinstance(error, TokenRefused), is_of_kafka=False)


def _login_of(connection: KafkaConnection, error: BaseException) -> str:
    """What was refused, and what to look at."""
    if connection.mechanism == OAUTHBEARER:
        said = f" ({error.args[0]})" if error.args and error.args[0] else ""
        return (
            f"token of {connection.username}{said}: compare its issuer, audience, scope and times with what the "
            "broker expects (sasl.oauthbearer.expected.…), and PIPELINE_KAFKA_TOKEN_URL and PIPELINE_KAFKA_TOKEN_SCOPE"
        )
    return (
        f"login of {connection.username} by {connection.mechanism}: check PIPELINE_KAFKA_USERNAME, "
        "PIPELINE_KAFKA_PASSWORD and PIPELINE_KAFKA_MECHANISM"
    )
