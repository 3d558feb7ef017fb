"""`dashboard`, `receive` and `mcp` as commands: what they need is in extras, which workers do without."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from pipeline import wiring
from pipeline.commands.failure import CommandFailed
from pipeline.runtime import loaded


def dashboard(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8080,
    no_login: Annotated[
        bool, typer.Option("--no-login", help="Ask for no password, even beyond this machine.")
    ] = False,
) -> None:
    """Serve the dashboard until Ctrl-C or SIGTERM. The password is PIPELINE_DASHBOARD_PASSWORD."""
    with _extra("dashboard"):
        from pipeline.commands import dashboard  # noqa: PLC0415
    dashboard.dashboard(wiring.settings(), host=host, port=port, needs_login=not no_login)


def receive(
    host: Annotated[
        str | None, typer.Option(help="The address to listen on, instead of PIPELINE_RECEIVE_HOST.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Instead of PIPELINE_RECEIVE_PORT; 0 picks a free one."),
    ] = None,
    no_keys: Annotated[
        bool, typer.Option("--no-keys", help="Ask for no key, even beyond this machine.")
    ] = False,
) -> None:
    """Pass what SDKs send over HTTP on to Kafka, until Ctrl-C or SIGTERM. README.md shows how to send."""
    with _extra("receive"):
        from pipeline.commands import receive  # noqa: PLC0415
    settings = wiring.settings()
    receive.receive(
        settings,
        host=settings.receive_host if host is None else host,
        port=settings.receive_port if port is None else port,
        needs_key=not no_keys,
    )


def mcp() -> None:
    """Offer tools to an assistant (Model Context Protocol) on standard input and output (schemas/API.md).

    They ask the HTTP API at PIPELINE_API_URL with the key PIPELINE_API_KEY, or ClickHouse itself where no URL is set.
    """
    with _extra("mcp"):
        from pipeline.commands import mcp  # noqa: PLC0415
    mcp.mcp(wiring.settings())


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Around what a command loads."""
    gc.disable()
    try:
        yield
    except ModuleNotFoundError as error:
        raise CommandFailed(
            f"{error.name} is not installed: pip install 'session-pipeline[{name}]'"
        ) from error
    finally:
        loaded()
