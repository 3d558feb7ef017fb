"""What is wrong with the settings of connections that are right each by itself, and what they come to together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from pipeline.setting_list import Settings

_TLS_FILES = ("ca_file", "cert_file", "key_file")


def contradictions(settings: Settings) -> Iterator[str]:
    """What is wrong, each in a text that begins with the setting. Looks whether files are there."""
    security = settings.kafka_security
    if security.startswith("SASL"):
        if not (settings.kafka_username and settings.kafka_password):
            yield f"kafka_security {security}: needs kafka_username and kafka_password"
        yield from _of_tokens(settings)
    else:
        # Whoever gives a login believes that one is asked for.
        for name in (
            *("kafka_username", "kafka_password", "kafka_mechanism"),
            *("kafka_token_url", "kafka_token_scope", "kafka_token_ca_file"),
        ):
            if getattr(settings, name) != getattr(Settings(), name):
                yield f"{name}: is for a login, and kafka_security {security} has none (only SASL_… has)"
    without = f"kafka_security {security} has none (only SSL and SASL_SSL have)"
    yield from _of_tls(settings, "kafka", "" if security.endswith("SSL") else without)
    is_https = urlsplit(settings.clickhouse_url).scheme == "https"
    yield from _of_tls(settings, "clickhouse", "" if is_https else "clickhouse_url has none (only https has)")
    if settings.clickhouse_password and urlsplit(settings.clickhouse_url).password:
        yield "clickhouse_password: clickhouse_url holds one already, and only one can hold: take it out there"


def with_password(settings: Settings) -> Settings:
    """The settings with ClickHouse's password in the URL, where whoever connects looks for it, and there alone."""
    if not settings.clickhouse_password:
        return settings
    parts = urlsplit(settings.clickhouse_url)
    user = f"{parts.username or 'default'}:{quote(settings.clickhouse_password, safe='')}"
    host = parts.netloc.rpartition("@")[2]
    return replace(
        settings,
        clickhouse_url=parts._replace(netloc=f"{user}@{host}").geturl(),
        clickhouse_password="",
    )


def _of_tokens(settings: Settings) -> Iterator[str]:
    if settings.kafka_mechanism == "OAUTHBEARER":
        if not settings.kafka_token_url:
            yield "kafka_mechanism OAUTHBEARER: needs kafka_token_url"
    else:
        for name in ("kafka_token_url", "kafka_token_scope", "kafka_token_ca_file"):
            if getattr(settings, name):
                yield f"{name}: is for OAUTHBEARER, and kafka_mechanism is {settings.kafka_mechanism}"
    if settings.kafka_token_ca_file and not settings.kafka_token_url.startswith("https:"):
        yield "kafka_token_ca_file: is for TLS, and kafka_token_url has none (only https has)"
    yield from _missing(settings, "kafka_token_ca_file")


def _of_tls(settings: Settings, system: str, without: str) -> Iterator[str]:
    """`without` says why there is no TLS; empty where there is."""
    given = [name for name in (f"{system}_{file}" for file in _TLS_FILES) if getattr(settings, name)]
    password = f"{system}_key_password"
    if without:
        given += [password] if getattr(settings, password) else []
        for name in given:
            yield f"{name}: is for TLS, and {without}"
        return
    for name in given:
        yield from _missing(settings, name)
    if not getattr(settings, f"{system}_cert_file"):
        for name in (f"{system}_key_file", password):
            if getattr(settings, name):
                yield f"{name}: is for a client certificate, and {system}_cert_file names none"


def _missing(settings: Settings, name: str) -> Iterator[str]:
    path = getattr(settings, name)
    if path and not _is_file(path):
        yield f"{name}: there is no file {path}"


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except OSError:  # a name longer than the system takes, or a folder that may not be read
        return False
