"""TLS as Kafka, the token endpoint and ClickHouse are spoken to: always verified, and what is wrong in words."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.errors import UnusablePath

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_EXPIRED, _NOT_YET, _WRONG_NAME, _WRONG_ADDRESS = 10, 9, 62, 64
"""Of OpenSSL's codes for what is wrong with a certificate (`openssl verify`, X509_V_ERR_…)."""
_NO_CERTIFICATE = ("CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "HANDSHAKE_FAILURE")
"""What servers answer to who shows none, by version of TLS."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Whom to trust, and who we are. `names` begins the names of the settings: `PIPELINE_KAFKA` has `…_CA_FILE`."""

    names: str
    ca_file: str = ""
    """PEM of the authorities; empty for the system's own."""
    cert_file: str = ""
    """PEM of our certificate and of those that signed it; empty for none."""
    key_file: str = ""
    """PEM of its private key; empty if it is in `cert_file`."""
    key_password: str = field(default="", repr=False)

    def context(self) -> ssl.SSLContext:
        """For one who connects: certificates are checked, and host names with them. Reads the files.

        Raises UnusablePath for a file that cannot be used.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
        except OSError as error:  # so is an SSLError
            raise UnusablePath(
                f"{self.names}_CA_FILE: cannot use {self.ca_file}: {_why(error, 'certificates in PEM')}"
            ) from error
        if self.cert_file:
            self._show(context)
        return context

    def _show(self, context: ssl.SSLContext) -> None:
        at, path = ("KEY_FILE", self.key_file) if self.key_file else ("CERT_FILE", self.cert_file)
        try:
            # Without a password given OpenSSL would ask at the terminal.
            context.load_cert_chain(self.cert_file, self.key_file or None, lambda: self.key_password)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise UnusablePath(
                    f"{self.names}_{at}: the key in {path} is not that of the certificate in {self.cert_file}"
                ) from error
            if not _certificates(self.cert_file):
                at, path, wanted = "CERT_FILE", self.cert_file, "a certificate in PEM"
            else:
                wanted = (
                    f"a private key in PEM; or {self.names}_KEY_PASSWORD is not what it is encrypted with"
                )
            raise UnusablePath(f"{self.names}_{at}: cannot use {path}: it does not hold {wanted}") from error
        except OSError as error:
            readable = _certificates(self.cert_file)
            at, path = (at, path) if readable else ("CERT_FILE", self.cert_file)
            raise UnusablePath(f"{self.names}_{at}: cannot use {path}: {error.strerror or error}") from error


class ShownCertificate(NamedTuple):
    """A certificate as people speak of it."""

    subject: str
    valid_from: datetime
    valid_until: datetime

    def __str__(self) -> str:
        return f"{self.subject}, valid until {self.valid_until:%Y-%m-%d %H:%M} UTC"


def shown_certificate(path: str) -> ShownCertificate | None:
    """The first certificate in a PEM file, which is the one that is shown; None if there is none."""
    found = _certificates(path)
    if not found:
        return None
    first = found[0]
    return ShownCertificate(
        first.subject.rfc4514_string(), first.not_valid_before_utc, first.not_valid_after_utc
    )


def why_untrusted(
    error: ssl.SSLCertVerificationError, server: str, ca_setting: str, name_setting: str
) -> str:
    """What is wrong with a server's certificate, with what to do."""
    said = error.verify_message
    match error.verify_code:
        case code if code == _EXPIRED:
            remedy = "Renew it there, or set this machine's clock"
        case code if code == _NOT_YET:
            remedy = "Set the clocks of both machines"
        case code if code in (_WRONG_NAME, _WRONG_ADDRESS):
            remedy = f"Name the server in {name_setting} by a name that its certificate has"
        case _:
            remedy = f"Name the authority that signed it in {ca_setting}"
    return f"the certificate of {server} is not trusted: {said}. {remedy}"


def why_refused(reason: str, server: str, tls: Tls, now: datetime) -> str:
    """What a server means that ended the handshake by an alert, OpenSSL's `reason`, with what to do."""
    if not tls.cert_file:
        if any(part in reason for part in _NO_CERTIFICATE):
            return (
                f"{server} ended the TLS handshake ({reason}): it may ask for a client certificate. Set "
                f"{tls.names}_CERT_FILE and {tls.names}_KEY_FILE"
            )
        return f"{server} ended the TLS handshake: {reason}"
    shown = shown_certificate(tls.cert_file)
    if shown is None:
        return f"{server} ended the TLS handshake: {reason}"
    ours = f"our certificate in {tls.names}_CERT_FILE ({shown})"
    if shown.valid_until < now:
        return f"{server} refused {ours}: it has expired. Renew it"
    if shown.valid_from > now:
        return f"{server} refused {ours}: it is not valid before {shown.valid_from:%Y-%m-%d %H:%M} UTC. Set the clock"
    return (
        f"{server} refused {ours}: {reason}. Have it signed by an authority that the server trusts, or the server "
        "trust the one that signed it"
    )


def now_utc() -> datetime:
    """The time by this machine's clock."""
    return datetime.now(UTC)


def _certificates(path: str) -> list[Certificate]:
    # Only who has a certificate, or is refused, pays for it.
    from cryptography import x509  # noqa: PLC0415

    try:
        return x509.load_pem_x509_certificates(Path(path).read_bytes())
    except (OSError, ValueError):
        return []


def _why(error: OSError, wanted: str) -> str:
    if isinstance(error, ssl.SSLError):
        return f"it does not hold {wanted}"
    return error.strerror or str(error)
