"""The settings of the HTTP API alone."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.receive_settings import ReceiveSettings
from pipeline.setting_values import URL_OR_NONE, number, setting, text


@dataclass(frozen=True, slots=True)
class ApiSettings(ReceiveSettings):
    """What can be set of the API; a part of `Settings`, as that of `receive` is."""

    api_keys: str = setting(
        "",
        text("a file"),
        "TOML file with the keys of the HTTP API, and the apps that each may see, in the form of `receive_keys`; a "
        "key has 20 characters or more, and changes nothing unless `access` says `write`. It is read again when it "
        "changes. Without one the API is for those who are signed in to the dashboard, and for everybody where that"
        " asks for no password; then nothing can be changed over it. schemas/API.md.",
    )
    api_rate: int = setting(
        600,
        number(1, 1_000_000, "nobody could ask anything", "no ClickHouse answers that many"),
        "Requests a minute that one key, or one address where no key is asked for, may send to the HTTP API; beyond "
        "that it answers 429. Raise it where a program asks a lot and ClickHouse can take it.",
    )
    api_upload_bytes: int = setting(
        500_000_000,
        number(
            1_000_000,
            2_000_000_000,
            "no symbol file is that small",
            "that is what `symbols upload` takes",
            unit="bytes",
        ),
        "Bytes of one upload of symbols over the HTTP API. Two at most come in at a time, into the temporary folder of "
        "the dashboard, which reads one at a time, in memory.",
    )
    api_url: str = setting(
        "",
        URL_OR_NONE,
        "Address of the dashboard whose API `mcp` asks, as `https://dashboard.example`. Without one it asks ClickHouse "
        "itself, with the rights of `clickhouse_url`.",
    )
    api_key: str = setting(
        "",
        text("any text", is_secret=True),
        "The key with which `mcp` asks the API at `api_url`.",
        shown=False,
    )
