"""Why ClickHouse does not answer, with the cause first and what to do."""

from __future__ import annotations

import re
import ssl

from clickhouse_connect.driver.exceptions import Error

from pipeline.clickhouse.said import said_by_server
from pipeline.tls import Tls, now_utc, why_refused, why_untrusted

_ALERT = re.compile(r"\b[A-Z0-9]+_ALERT_[A-Z_]+")
"""OpenSSL's name for what the other side says as it ends a handshake; the client keeps it as text alone."""


def why_unanswered(error: Error, url: str, tls: Tls) -> str:
    """What to say of an error of the client that a later try may not meet. `url` has no password in it."""
    said, first = str(error), _first(error)
    told = said_by_server(said)
    if error.code is not None or told != said:
        # What stands between may leave out the header that has the code.
        return told
    if isinstance(first, ssl.SSLCertVerificationError):
        names = ("PIPELINE_CLICKHOUSE_CA_FILE", "PIPELINE_CLICKHOUSE_URL")
        return why_untrusted(first, f"ClickHouse at {url}", *names)
    if alert := _ALERT.search(f"{said} {first}"):
        return why_refused(alert[0], f"ClickHouse at {url}", tls, now_utc())
    if said.startswith("Error HTTP"):
        said = (first.strerror if isinstance(first, OSError) else "") or str(first)
    if (
        isinstance(first, (ssl.SSLEOFError, ConnectionResetError))
        and url.startswith("https:")
        and not tls.cert_file
    ):
        # Who refuses a client without a certificate may not wait until that has heard why.
        said += ", as where a client certificate is asked for (PIPELINE_CLICKHOUSE_CERT_FILE)"
    return (
        f"ClickHouse at {url} does not answer: {said}. Check that it runs and that PIPELINE_CLICKHOUSE_URL names it, "
        "then try again"
    )


def _first(error: BaseException) -> BaseException:
    """What the system said, without the layers of clients above it."""
    first = error
    while (under := first.__cause__ or first.__context__) is not None:
        first = under
    return first
