"""ClickHouse by TLS: certificates are checked both ways, and what is wrong is said with cause and remedy."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pipeline import wiring
from pipeline.clickhouse.store import Store, Unreachable
from pipeline.embedded.child import LOOPBACK
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.errors import UnusablePath
from pipeline.settings import load
from tests.support.certificates import Authority
from tests.support.tls_proxy import TlsProxy

DAY = timedelta(days=1)


class Guarded:
    """The engine behind what speaks TLS, as it is and as it may be."""

    def __init__(self, folder: Path, clickhouse: EmbeddedClickHouse) -> None:
        self.house, self.stranger = Authority(folder, "house"), Authority(folder, "stranger")
        self.client = self.house.issue("writer", password="key-secret")
        self.password = urlsplit(clickhouse.url).password
        times = {"begins": -3 * DAY, "ends": -DAY}
        servers = {
            "good": (self.house.issue("server", hosts=(LOOPBACK,)), None),
            "asking": (self.house.issue("asking", hosts=(LOOPBACK,)), self.house.file),
            "expired": (self.house.issue("expired", hosts=(LOOPBACK,), **times), None),
            "elsewhere": (self.house.issue("elsewhere", hosts=("clickhouse.example",)), None),
        }
        self.proxies = {name: TlsProxy(clickhouse.port, *server) for name, server in servers.items()}

    def store(self, server: str, *, password: bool = True, **given: str) -> Store:
        """As the wiring makes it, of settings."""
        user = f"default:{self.password}" if password else "default"
        variables = {
            "url": f"https://{user}@{LOOPBACK}:{self.proxies[server].port}/default",
            "ca_file": str(self.house.file),
            **given,
        }
        return wiring.store(
            load({f"PIPELINE_CLICKHOUSE_{name.upper()}": text for name, text in variables.items()})
        )

    def shown(self, certificate: tuple[Path, Path], password: str = "") -> dict[str, str]:
        return {"cert_file": str(certificate[0]), "key_file": str(certificate[1]), "key_password": password}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, clickhouse: EmbeddedClickHouse) -> Iterator[Guarded]:
    made = Guarded(tmp_path_factory.mktemp("tls"), clickhouse)
    for proxy in made.proxies.values():
        proxy.__enter__()
    yield made
    for proxy in made.proxies.values():
        proxy.__exit__()


def test_it_is_trusted_by_its_authority(guarded: Guarded) -> None:
    assert guarded.store("good").query("SELECT 1 AS n") == b'{"n":1}\n'


def test_a_certificate_of_ours_is_shown_beside_a_password(guarded: Guarded) -> None:
    store = guarded.store("asking", **guarded.shown(guarded.client, "key-secret"))
    assert store.query("SELECT 1 AS n") == b'{"n":1}\n'
    assert b"Authorization: Basic " in guarded.proxies["asking"].heads[-1]


def test_without_a_password_it_is_the_login(guarded: Guarded) -> None:
    """The engine here asks for a password; what was asked of it is what a server goes by."""
    store = guarded.store("asking", password=False, **guarded.shown(guarded.client, "key-secret"))
    with pytest.raises((Unreachable, Exception), match=r"(?i)authentication"):
        store.query("SELECT 1")
    head = guarded.proxies["asking"].heads[-1]
    assert b"X-ClickHouse-SSL-Certificate-Auth: on" in head and b"X-ClickHouse-User: default" in head
    assert b"Authorization" not in head


UNTRUSTED = {
    "another authority": (
        "good",
        {"ca_file": "{stranger}"},
        "Name the authority that signed it in",
        "_CA_FILE",
    ),
    "the system's": ("good", {"ca_file": ""}, "Name the authority that signed it in", "_CA_FILE"),
    "expired": ("expired", {}, "certificate has expired", "Renew it there"),
    "another host": ("elsewhere", {}, "is not valid for", "Name the server in PIPELINE_CLICKHOUSE_URL"),
}


@pytest.mark.parametrize("name", UNTRUSTED)
def test_a_certificate_that_is_not_trusted(guarded: Guarded, name: str) -> None:
    server, given, *says = UNTRUSTED[name]
    store = guarded.store(server, **{k: v.format(stranger=guarded.stranger.file) for k, v in given.items()})
    said = failure(store)
    assert said.startswith("the certificate of ClickHouse at https://") and all(part in said for part in says)


def test_what_it_has_against_our_certificate(guarded: Guarded) -> None:
    assert "Set PIPELINE_CLICKHOUSE_CERT_FILE and PIPELINE_CLICKHOUSE_KEY_FILE" in failure(
        guarded.store("asking")
    )
    expired = guarded.house.issue("of-before", begins=-3 * DAY, ends=-DAY)
    said = failure(guarded.store("asking", **guarded.shown(expired)))
    assert (
        "refused our certificate in PIPELINE_CLICKHOUSE_CERT_FILE (CN=of-before" in said
        and "has expired" in said
    )
    said = failure(guarded.store("asking", **guarded.shown(guarded.stranger.issue("visitor"))))
    assert "CN=visitor" in said and "UNKNOWN_CA" in said


def test_a_file_that_cannot_be_used_is_named(guarded: Guarded) -> None:
    store = guarded.store("asking", **guarded.shown(guarded.client, "wrong"))
    with pytest.raises(
        UnusablePath, match="PIPELINE_CLICKHOUSE_KEY_PASSWORD is not what it is encrypted with"
    ):
        store.query("SELECT 1")


def failure(store: Store) -> str:
    with pytest.raises(Unreachable) as unreachable:
        store.query("SELECT 1")
    said = str(unreachable.value)
    assert "\n" not in said and len(said) < 500
    return said
