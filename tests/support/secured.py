"""Apache Kafka with a listener for each way in, and for each thing that can be wrong with a broker's certificate."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pipeline.embedded.child import LOOPBACK, free_port
from pipeline.kafka.connection import KafkaConnection
from tests.support.certificates import Authority
from tests.support.services import ApacheKafka
from tests.support.token_server import AUDIENCE, ISSUER, TokenServer

LOGIN = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_worker="right";'
PROTOCOLS = {
    "SSL": "SSL",
    "SASL_PLAINTEXT": "SASL_PLAINTEXT",
    "SASL_SSL": "SASL_SSL",
    "MTLS": "SSL",
    "OAUTH": "SASL_SSL",
    "EXPIRED": "SSL",
    "ELSEWHERE": "SSL",
}
"""Of each listener. EXPIRED shows a certificate of before, ELSEWHERE one for another host."""
_OAUTH = "org.apache.kafka.common.security.oauthbearer"


class Secured:
    """The broker, the authority that it trusts, and the provider whose tokens it takes. Raises Unavailable."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority, self.stranger = Authority(folder, "house"), Authority(folder, "stranger")
        self.worker = self.authority.issue("worker", password="key-secret")
        store = self._store(self.authority.issue("broker", hosts=(LOOPBACK, "localhost")))
        days = timedelta(days=1)
        expired = self._store(
            self.authority.issue("expired-broker", hosts=(LOOPBACK,), begins=-3 * days, ends=-days)
        )
        elsewhere = self._store(self.authority.issue("elsewhere", hosts=("kafka.example",)))
        self.provider = self.authority.issue("provider", hosts=(LOOPBACK,))
        self.tokens = TokenServer({"worker": "token secret/+"}, self.provider)
        keys = folder / "keys.json"
        keys.write_bytes(self.tokens.jwks())
        self.ports = {name: free_port() for name in PROTOCOLS}
        tokens = "listener.name.oauth.oauthbearer.sasl"
        protocols = {"CONTROLLER": "PLAINTEXT", "PLAINTEXT": "PLAINTEXT", **PROTOCOLS}
        self.broker = ApacheKafka(
            folder / "broker",
            listeners=self.ports,
            settings={
                "listener.security.protocol.map": ",".join(
                    f"{name}:{kind}" for name, kind in protocols.items()
                ),
                "sasl.enabled.mechanisms": "PLAIN",
                "listener.name.sasl_plaintext.plain.sasl.jaas.config": LOGIN,
                "listener.name.sasl_ssl.plain.sasl.jaas.config": LOGIN,
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": store,
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": self.authority.file,
                "listener.name.mtls.ssl.client.auth": "required",
                "listener.name.expired.ssl.keystore.location": expired,
                "listener.name.elsewhere.ssl.keystore.location": elsewhere,
                "listener.name.oauth.sasl.enabled.mechanisms": "OAUTHBEARER",
                f"{tokens}.jaas.config": f"{_OAUTH}.OAuthBearerLoginModule required;",
                f"{tokens}.server.callback.handler.class": f"{_OAUTH}.OAuthBearerValidatorCallbackHandler",
                f"{tokens}.oauthbearer.jwks.endpoint.url": keys.as_uri(),
                f"{tokens}.oauthbearer.expected.audience": AUDIENCE,
                f"{tokens}.oauthbearer.expected.issuer": ISSUER,
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": "User:ANONYMOUS;User:worker;User:CN=worker",
            },
            properties={
                "org.apache.kafka.sasl.oauthbearer.allowed.urls": keys.as_uri(),
                "org.apache.kafka.sasl.oauthbearer.allowed.files": keys,
            },
        )

    def connection(self, listener: str, **given: str) -> KafkaConnection:
        """How the worker comes in by a listener, with what is given instead."""
        port, kind = self.ports.get(listener), PROTOCOLS.get(listener, "PLAINTEXT")
        usual: dict[str, str] = {}
        if kind.startswith("SASL"):
            usual |= {"username": "worker", "password": "right"}
        if kind.endswith("SSL"):
            usual["ca_file"] = str(self.authority.file)
        if listener == "MTLS":
            usual |= {
                "cert_file": str(self.worker[0]),
                "key_file": str(self.worker[1]),
                "key_password": "key-secret",
            }
        if listener == "OAUTH":
            usual |= {
                "mechanism": "OAUTHBEARER",
                "password": "token secret/+",
                "token_url": self.tokens.url,
                "token_scope": "events",
                "token_ca_file": str(self.authority.file),
            }
        here = f"{LOOPBACK}:{port}" if port else self.broker.bootstrap
        return KafkaConnection(here, kind, **{**usual, **given})  # type: ignore[arg-type]

    def variables(self, listener: str, **given: str) -> dict[str, str]:
        """The same as variables, secrets in files."""
        connection = self.connection(listener, **given)
        plain = {
            name: str(getattr(connection, name))
            for name in (
                *("bootstrap", "security", "mechanism", "username", "ca_file", "cert_file", "key_file"),
                *("token_url", "token_scope", "token_ca_file"),
            )
        }
        for name in ("password", "key_password"):
            plain[f"{name}_file"] = ""
            if value := getattr(connection, name):
                file = self.folder / f"{listener}-{name}"
                file.write_text(f"{value}\n")
                plain[f"{name}_file"] = str(file)
        return {f"PIPELINE_KAFKA_{name.upper()}": value for name, value in plain.items()}

    def issued(self, name: str, by: Authority | None = None, **times: timedelta) -> dict[str, str]:
        """The certificate of another client, for `connection`."""
        certificate, key = (by or self.authority).issue(name, **times)
        return {"cert_file": str(certificate), "key_file": str(key), "key_password": ""}

    def _store(self, made: tuple[Path, Path]) -> Path:
        """What Kafka calls a key store: a key and its certificate in one file."""
        certificate, key = made
        store = certificate.with_suffix(".store.pem")
        store.write_text(key.read_text() + certificate.read_text())
        return store
