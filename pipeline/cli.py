"""The command line: parses arguments, turns failures into exit codes, and nothing else.

Exit codes:

    0    success
    1    failure, with one line on stderr that says what is wrong
    2    wrong usage
    70   a fault of this program, with one line on stderr to report
    130  Ctrl-C
    141  whoever read the output has gone away, such as `head`

With PIPELINE_DEBUG=1 a traceback comes before that line.
"""

from __future__ import annotations

import os
import select
import sys
import traceback
from datetime import datetime
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from pipeline import __version__, wiring
from pipeline.commands.times import TIMES
from pipeline.errors import PipelineError, system_says
from pipeline.logs import log_for_command
from pipeline.runtime import loaded
from pipeline.settings import Settings

_FAILED, _OUR_FAULT, _INTERRUPTED, _NOBODY_READS = 1, 70, 130, 141
"""Exit codes. The last two are those of a process that dies of SIGINT and SIGPIPE, as a shell shows them."""
_BY_THEMSELVES = {
    "send": "traffic.send_command",
    "simulate": "traffic.simulate_command",
    "validate": "validate.command",
    "receive": "serving.receive",
    "dashboard": "serving.dashboard",
    "mcp": "serving.mcp",
    "check": "check.check",
    "retention": "retention.command",
    "regroup": "regroup.command",
    "erase": "erase.erase",
    "repartition": "repartition.repartition",
    "dead-letters": "dead_letters.app",
    "symbols": "symbols.app",
    "alerts": "alerts.app",
    "policies": "policies.app",
}
"""Commands whose modules say themselves what arguments they take: where in `pipeline.commands` each is.

Every command is loaded when it is asked for: to load all of them takes longer than most run."""


class _Commands(TyperGroup):
    """All commands. What the library would otherwise end in its own way is ended here, and not in `main`."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        # Their names alone, for the list of commands and for what is said of a misspelt one.
        names: dict[str, Any] = dict.fromkeys(_BY_THEMSELVES)
        self.commands.update(names)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _BY_THEMSELVES:
            return super().get_command(ctx, cmd_name)
        module, _, name = _BY_THEMSELVES[cmd_name].partition(".")
        found = getattr(import_module(f"pipeline.commands.{module}"), name)
        loaded()
        if not isinstance(found, typer.Typer):
            function, found = found, typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            found.command(cmd_name)(function)
        command = get_command(found)
        command.name = cmd_name
        return command

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt:
            sys.exit(_INTERRUPTED)
        except SystemExit as end:
            # Rich exits by itself, with 1.
            if isinstance(end.__context__, BrokenPipeError):
                sys.exit(_NOBODY_READS)
            raise
        except BrokenPipeError as error:
            # A socket breaks in the same way, which is no reason to be quiet.
            code = _NOBODY_READS if _nobody_reads() else _report(error)
            _drop_output()
            sys.exit(code)
        return result


app = typer.Typer(
    cls=_Commands,
    help="Turns the raw events of mobile and web apps into user sessions: Kafka in, ClickHouse out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Role(StrEnum):
    """What a worker does."""

    sessionizer = "sessionizer"
    sink = "sink"
    router = "router"
    all = "all"


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"session-pipeline {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Options that may come before any command."""


@app.command()
def up(
    data: Annotated[Path, typer.Option(help="Where sessions and events are kept.")] = Path(
        ".session-pipeline"
    ),
    kafka_port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 9092,
    clickhouse_port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8123,
    dashboard_port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8080,
    receive_port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 4318,
    receive_host: Annotated[
        str,
        typer.Option(
            help="Where SDKs send to; 0.0.0.0 lets phones on your network in, with the key that is printed "
            "(or those of PIPELINE_RECEIVE_KEYS)."
        ),
    ] = "127.0.0.1",
) -> None:
    """Run the whole pipeline on this machine, with nothing else installed, until Ctrl-C or SIGTERM.

    Its ClickHouse asks for a password, which is part of the printed URL. While this command runs, the other commands of
    the same user find it by the port, without any setting; for other programs the URL is also in DATA/clickhouse-url.
    """
    from pipeline.commands.up import Ports, run

    ports = Ports(kafka_port, clickhouse_port, dashboard_port, receive_port)
    run(_settings(), data=data, ports=ports, receive_host=receive_host)


@app.command("demo")
def demo_command(
    data: Annotated[Path, typer.Option(help="Where sessions and events are kept.")] = Path(
        ".session-pipeline"
    ),
) -> None:
    """See it work: the embedded stack, a small simulated fleet, its sessions, a crash, and crash-free rates."""
    from pipeline.commands import demo

    demo.demo(_settings(), data)


@app.command()
def worker(
    role: Annotated[Role, typer.Option(help="What this worker does.")],
    ready_file: Annotated[
        Path | None, typer.Option(help="Written once the worker has its partitions: a readiness probe.")
    ] = None,
) -> None:
    """Run one worker against the configured Kafka and ClickHouse; start as many as the load needs."""
    from pipeline.commands import worker

    worker.worker(_settings(), role.value, ready_file)


@app.command()
def migrate(
    made_anew: Annotated[
        list[str] | None,
        typer.Option("--made-anew", metavar="TOPIC", help="Go on with this topic as it is: see the runbook."),
    ] = None,
    status: Annotated[
        bool, typer.Option("--status", help="Only say how far the move of events from older tables has got.")
    ] = False,
    back: Annotated[
        bool, typer.Option("--back", help="Show the older tables of events again, which get everything too.")
    ] = False,
    forward: Annotated[
        bool, typer.Option("--forward", help="After --back: show the new ones again.")
    ] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="Drop the older tables of events. Then there is no way back.")
    ] = False,
) -> None:
    """Bring ClickHouse to the current schema, and create the topics. It is safe to run any number of times, and goes on
    where it was interrupted."""
    if status + back + forward + finish > 1:
        raise typer.BadParameter("use one of --status, --back, --forward and --finish")
    if status or back or forward or finish:
        from pipeline.commands import moves

        moves.run(_settings(), back=back, forward=forward, finish=finish)
    else:
        from pipeline.commands import operate

        operate.migrate(_settings(), made_anew or ())


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="A statement; - reads it from standard input.")],
    format: Annotated[
        str, typer.Option(help="Any ClickHouse format; a table on a terminal by default.")
    ] = "",
) -> None:
    """Run SQL in ClickHouse."""
    from pipeline.commands import analyse

    analyse.query(_settings(), sql, format)


@app.command()
def sessions(
    *,
    filter: Annotated[
        str,
        typer.Option(
            help='Which sessions, such as: session.crash_count > 0 and app.version = "1.2". Default: all.'
        ),
    ] = "",
    app_id: Annotated[str, typer.Option("--app", help="Only this app.")] = "",
    start: Annotated[
        datetime | None, typer.Option("--from", formats=TIMES, help="Sessions that start at or after (UTC).")
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", formats=TIMES, help="Sessions that start before (UTC).")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="At most this many.")] = 100,
    all_: Annotated[
        bool, typer.Option("--all", help="All of them, however many; with --format csv, ndjson or parquet.")
    ] = False,
    sort: Annotated[
        str,
        typer.Option(
            help="For csv, ndjson and parquet: start, duration, events or failed; a - in front reverses it."
        ),
    ] = "",
    format: Annotated[
        str,
        typer.Option(
            help="csv, ndjson or parquet, as the dashboard exports them, or any ClickHouse format; each has all "
            "columns. A table on a terminal by default."
        ),
    ] = "",
) -> None:
    """List sessions, newest first. schemas/README.md describes the filter language."""
    from pipeline.commands import analyse

    chosen = analyse.Chosen(filter, app_id, start, end)
    analyse.listed(_settings(), chosen, analyse.Listing(limit, all_, sort, format))


@app.command()
def status(
    wait_idle: Annotated[
        bool, typer.Option("--wait-idle", help="Wait until all input is stored and idle sessions are closed.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait with --wait-idle.")] = 60,
    accept: Annotated[
        bool,
        typer.Option(
            "--accept-losses", help="Accept what has been lost so far: it no longer counts as a fault."
        ),
    ] = False,
    format: Annotated[str, typer.Option(help="text, or json for programs.")] = "text",
) -> None:
    """Show lag, rates, open sessions and the ledger. Exits with 1 if something must be wrong."""
    from pipeline.commands import operate

    operate.status(_settings(), wait_idle=wait_idle, timeout_s=timeout, accept=accept, format=format)


@app.command("rebuild")
def rebuild_command(
    app_id: Annotated[str, typer.Option("--app", help="Only this app.")] = "",
    start: Annotated[
        datetime | None, typer.Option("--from", formats=TIMES, help="Sessions that start at or after (UTC).")
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", formats=TIMES, help="Sessions that start before (UTC).")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what differs; change nothing.")] = False,
    states: Annotated[
        bool,
        typer.Option("--states", help="Write the state of all devices to Kafka again, after it was lost."),
    ] = False,
) -> None:
    """Compute sessions again from the stored events, under the policy of the present settings."""
    if states and (app_id or start or end or dry_run):
        raise typer.BadParameter("--states is for all devices: use it without any other option")
    from pipeline.commands import rebuild

    rebuild.rebuild(_settings(), rebuild.scope(app_id, start, end), dry_run=dry_run, states=states)


def main() -> None:
    """Entry point of the console script. Always exits; what goes wrong is said here and nowhere else."""
    log_for_command()
    try:
        app()
    except Exception as error:  # the last one who could say what happened
        code = _report(error)
        if isinstance(error, OSError):
            _drop_output()
        sys.exit(code)


def _settings() -> Settings:
    """Those of this process. Asked for when a command is loaded and about to begin."""
    loaded()
    return wiring.settings()


def _report(error: Exception) -> int:
    """Print a failure as one line on stderr; returns the exit code."""
    if wiring.shows_tracebacks():
        traceback.print_exception(error)
    line, code = _said(error)
    print(f"session-pipeline: {' '.join(line.split())}", file=sys.stderr)
    return code


def _said(error: Exception) -> tuple[str, int]:
    """What to say of a failure, and the exit code."""
    if isinstance(error, PipelineError):
        return str(error), _FAILED
    # The system refused something: a file, a port, space. A broken connection should have been named by our own parts.
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ConnectionError):
        return system_says(error), _FAILED
    frames = traceback.extract_tb(error.__traceback__)
    at = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return (
        f"unexpected {type(error).__name__}{at}: {error}. This is a fault in the program: please report this line, "
        "and what the same command prints with PIPELINE_DEBUG=1",
        _OUR_FAULT,
    )


def _nobody_reads() -> bool:
    """Whether standard output is a pipe whose other end is closed."""
    output = select.poll()
    output.register(sys.__stdout__.fileno() if sys.__stdout__ else 1, 0)
    return any(event & select.POLLERR for _, event in output.poll(0))


def _drop_output() -> None:
    """Drop what cannot be printed any more: the interpreter would try once more when it ends, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
