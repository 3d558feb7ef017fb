"""Every secret can be in a file of its own; what is wrong with such a file is said without what it holds."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from pipeline.settings import InvalidSettings, Settings, as_environment, load, variables

LONG = "s3cr3t" * 8
URL = "https://writer:s3cr3t@clickhouse:8443/app_sessions"
# Each secret, a value that it may have, and what has to be set besides.
LOGIN = {"PIPELINE_KAFKA_SECURITY": "SASL_SSL", "PIPELINE_KAFKA_USERNAME": "worker"}
SECRETS: dict[str, tuple[str, dict[str, str]]] = {
    "kafka_password": (LONG, LOGIN),
    "kafka_key_password": (LONG, {"PIPELINE_KAFKA_SECURITY": "SSL", "PIPELINE_KAFKA_CERT_FILE": __file__}),
    "clickhouse_url": (URL, {}),
    "clickhouse_password": (LONG, {}),
    "clickhouse_key_password": (
        LONG,
        {"PIPELINE_CLICKHOUSE_URL": "https://h:1/d", "PIPELINE_CLICKHOUSE_CERT_FILE": __file__},
    ),
    "dashboard_password": (LONG, {}),
    "privacy_key": (LONG, {}),
    "api_key": (LONG, {}),
}


def refusal(given: dict[str, str]) -> str:
    with pytest.raises(InvalidSettings) as refused:
        load(given)
    said = str(refused.value)
    assert "s3cr3t" not in said and "\n" not in said
    return said


def test_the_list_of_secrets_is_whole() -> None:
    hidden = {item.name for item in fields(Settings) if item.metadata and item.metadata["form"].is_secret}
    assert hidden == set(SECRETS) == {item.name for item in fields(Settings) if not item.repr}
    files = {
        name for name in variables() if name.removesuffix("_FILE") in variables() and name.endswith("_FILE")
    }
    assert files == {f"PIPELINE_{name.upper()}_FILE" for name in SECRETS}


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"], ids=["bare", "newline", "windows"])
def test_a_secret_in_a_file_is_as_good_as_in_a_variable(name: str, end: str, tmp_path: Path) -> None:
    value, besides = SECRETS[name]
    file, variable = tmp_path / "secret", f"PIPELINE_{name.upper()}"
    file.write_bytes((value + end).encode())
    direct = load({**besides, variable: value})
    assert load({**besides, f"{variable}_FILE": str(file)}) == direct
    assert load({**besides, f"{variable}_FILE": str(file), variable: ""}) == direct, (
        "what is empty is not given"
    )
    toml = tmp_path / "settings.toml"
    toml.write_text(f'{name}_file = "{file}"\n')
    assert load({**besides, "PIPELINE_CONFIG": str(toml)}) == direct
    assert "s3cr3t" not in repr(direct)


@pytest.mark.parametrize("name", SECRETS)
def test_what_is_wrong_with_a_file_is_said_by_name(name: str, tmp_path: Path) -> None:
    value, besides = SECRETS[name]
    file, variable = tmp_path / "secret", f"PIPELINE_{name.upper()}"
    given = {**besides, f"{variable}_FILE": str(file)}
    assert f"{name}_file: cannot read {file}: No such file or directory" in refusal(given)
    assert f"{name}_file: cannot read {tmp_path}: Is a directory" in refusal(
        {**given, f"{variable}_FILE": str(tmp_path)}
    )
    for content, says in (
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\n\n", "is empty"),
        (f"{value}\n{value}\n".encode(), "has more than one line"),
        (b"\xff\xfes3cr3t", "is not UTF-8"),
        (b"s3cr3t" * 20_000, "is longer than 65536 bytes"),
    ):
        file.write_bytes(content)
        assert f"{name}_file: {file} {says}" in refusal(given)
    file.write_text(value)
    both = refusal({**given, variable: value})
    assert f"{name} and {name}_file: both are set" in both


def test_the_environment_goes_before_the_file_in_either_way(tmp_path: Path) -> None:
    secret, toml = tmp_path / "secret", tmp_path / "settings.toml"
    secret.write_text("from its file")
    toml.write_text(f'dashboard_password_file = "{tmp_path / "nowhere"}"\n')
    given = {"PIPELINE_CONFIG": str(toml), "PIPELINE_DASHBOARD_PASSWORD": "direct"}
    assert load(given).dashboard_password == "direct"
    toml.write_text('dashboard_password = "of the file"\n')
    given = {"PIPELINE_CONFIG": str(toml), "PIPELINE_DASHBOARD_PASSWORD_FILE": str(secret)}
    assert load(given).dashboard_password == "from its file"
    assert load({**given, "PIPELINE_DASHBOARD_PASSWORD_FILE": ""}).dashboard_password == "of the file"
    toml.write_text(f'dashboard_password = "one"\ndashboard_password_file = "{secret}"\n')
    assert "dashboard_password and dashboard_password_file: both" in refusal({"PIPELINE_CONFIG": str(toml)})
    toml.write_text("dashboard_password_file = 5\n")
    assert "dashboard_password_file: is a int, not a text" in refusal({"PIPELINE_CONFIG": str(toml)})


def test_what_a_parent_hands_to_its_children_is_not_given_twice(tmp_path: Path) -> None:
    """`up` starts workers with its own environment and the settings as variables."""
    secret = tmp_path / "secret"
    secret.write_text("s3cr3t\n")
    mine = {"PIPELINE_CLICKHOUSE_PASSWORD_FILE": str(secret), "PIPELINE_DASHBOARD_PASSWORD_FILE": str(secret)}
    settings = load(mine)
    assert load({**mine, **as_environment(settings)}) == settings


def test_clickhouses_password_goes_into_its_url_and_nowhere_else(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("p@ss/w:rd%\n")
    given = {"PIPELINE_CLICKHOUSE_PASSWORD_FILE": str(secret)}
    for url, expected in (
        ("https://writer@host:8443/d", "https://writer:p%40ss%2Fw%3Ard%25@host:8443/d"),
        ("http://host/d", "http://default:p%40ss%2Fw%3Ard%25@host/d"),
        ("http://[::1]:8123/d", "http://default:p%40ss%2Fw%3Ard%25@[::1]:8123/d"),
    ):
        settings = load({**given, "PIPELINE_CLICKHOUSE_URL": url})
        assert (settings.clickhouse_url, settings.clickhouse_password) == (expected, "")
    said = refusal({**given, "PIPELINE_CLICKHOUSE_URL": "http://a:s3cr3t@h/d"})
    assert "clickhouse_password: clickhouse_url holds one already" in said


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"KAFKA_SECURITY": "SSL", "KAFKA_KEY_FILE": __file__}, "kafka_key_file: is for a client certificate"),
        ({"KAFKA_SECURITY": "SSL", "KAFKA_CERT_FILE": "/nowhere"}, "kafka_cert_file: there is no file /nowhere"),
        ({"CLICKHOUSE_URL": "https://h/d", "CLICKHOUSE_CA_FILE": "/nowhere"}, "clickhouse_ca_file: there is no"),
        ({"CLICKHOUSE_URL": "https://h/d", "CLICKHOUSE_KEY_FILE": __file__}, "clickhouse_key_file: is for a client"),
        ({"KAFKA_SECURITY": "SSL", "KAFKA_TOKEN_SCOPE": "s"}, "kafka_token_scope: is for a login"),
        (
            {"KAFKA_SECURITY": "SASL_SSL", "KAFKA_MECHANISM": "OAUTHBEARER", "KAFKA_USERNAME": "u"},
            "kafka_mechanism OAUTHBEARER: needs kafka_token_url",
        ),
        (
            {"KAFKA_SECURITY": "SASL_SSL", "KAFKA_TOKEN_URL": "https://id/token"},
            "kafka_token_url: is for OAUTHBEARER, and kafka_mechanism is PLAIN",
        ),
        (
            {"KAFKA_TOKEN_URL": "http://localhost/t", "KAFKA_TOKEN_CA_FILE": __file__, "KAFKA_SECURITY": "SASL_SSL",
             "KAFKA_MECHANISM": "OAUTHBEARER"},
            "kafka_token_ca_file: is for TLS",
        ),
    ],
    ids=lambda value: value.partition(":")[0] if isinstance(value, str) else "",
)  # fmt: skip
def test_what_does_not_go_together_is_said(given: dict[str, str], says: str) -> None:
    assert says in refusal({f"PIPELINE_{name}": value for name, value in given.items()})
