"""What goes wrong in the simulated apps, worded as the platforms word it."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from pipeline.simulate.device import Device, Json
from pipeline.simulate.dice import Weighted, between, pick

REQUEST_FAULTS: Weighted[tuple[int, str]] = Weighted(
    [
        ((500, "500"), 18),
        ((502, "502"), 8),
        ((503, "503"), 16),
        ((504, "504"), 6),
        ((404, ""), 22),
        ((401, ""), 10),
        ((429, "429"), 5),
        ((0, "timeout"), 20),
        ((0, "unknown_host"), 8),
        ((0, "connection_lost"), 12),
    ]
)
"""HTTP status (0: no answer) and `error.type` (empty: not given) of failed requests."""

EXIT_REASONS: Weighted[str] = Weighted(
    [
        ("low_memory", 60),
        ("signaled", 8),
        ("freezer", 6),
        ("excessive_resource_usage", 5),
        ("permission_change", 2),
        ("other", 12),
    ]
)
"""Why Android ends processes that nobody looks at."""


class Failure(NamedTuple):
    """An exception: its type, its message (`{url}`, `{screen}` are filled in), and the call that threw it."""

    type: str
    message: str
    call: str


_BY_RUNTIME: dict[str, tuple[Failure, ...]] = {
    "Android": (
        Failure("java.lang.IllegalStateException", "No data for {screen}: {url} failed", "ViewModel.render"),
        Failure(
            "java.lang.NullPointerException",
            "Parameter specified as non-null is null: body",
            "Repository.parse",
        ),
        Failure("org.json.JSONException", "End of input at character 0 of {url}", "Api.decode"),
        Failure("java.lang.IndexOutOfBoundsException", "Index: 0, Size: 0", "Adapter.bind"),
        Failure(
            "java.lang.OutOfMemoryError",
            "Failed to allocate a 48771088-byte allocation",
            "ImageLoader.decode",
        ),
    ),
    "iOS": (
        Failure("EXC_BREAKPOINT", "Found nil while unwrapping the answer of {url}", "ViewModel.render()"),
        Failure(
            "NSInvalidArgumentException", "-[NSNull length]: unrecognized selector", "Decoder.decode(_:)"
        ),
        Failure("EXC_BAD_ACCESS", "KERN_INVALID_ADDRESS at 0x0000000000000018", "ImageCache.evict()"),
        Failure("NSRangeException", "index 0 beyond bounds for empty array", "DataSource.cell(at:)"),
    ),
    "Web": (
        Failure("TypeError", "Cannot read properties of undefined (reading 'items')", "render"),
        Failure("SyntaxError", "Unexpected end of JSON input from {url}", "parse"),
        Failure("ChunkLoadError", "Loading chunk {screen} failed", "load"),
    ),
    "flutter": (
        Failure("_TypeError", "Null check operator used on a null value", "State.build"),
        Failure("FormatException", "Unexpected end of input (at character 1) in {url}", "Api.decode"),
        Failure("StateError", "Bad state: No element", "Model.first"),
    ),
}


def exception_attributes(rng: Random, device: Device, screen: str, url: str) -> Json:
    """The attributes of a crash or exception on a screen, after a request to a URL failed."""
    is_flutter = device.platform != "Web" and device.sdk.fatal_name == "exception"
    runtime = "flutter" if is_flutter else device.platform
    failure = pick(rng, _BY_RUNTIME[runtime])
    return {
        "exception.type": failure.type,
        "exception.message": failure.message.format(url=url, screen=screen),
        "exception.stacktrace": _stack(rng, device, runtime, screen, failure),
        "thread.name": "main",
    }


def _stack(rng: Random, device: Device, runtime: str, screen: str, failure: Failure) -> str:
    package = device.app.id
    line = between(rng, 20, 400)
    calls = (
        f"{screen}{failure.call}",
        f"{screen}Controller.onAnswer",
        f"{screen}Controller.load",
        "Http.complete",
    )
    if runtime == "Android":
        frames = [
            f"\tat {package}.{call}({call.split('.')[0]}.kt:{line + n * 17})" for n, call in enumerate(calls)
        ]
        frames += [
            "\tat android.os.Handler.handleCallback(Handler.java:959)",
            "\tat android.os.Looper.loop(Looper.java:317)",
            "\tat android.app.ActivityThread.main(ActivityThread.java:8592)",
        ]
        return "\n".join([f"{failure.type}: {failure.message.split('{')[0].strip()}", *frames])
    if runtime == "iOS":
        module = package.rpartition(".")[2].capitalize()
        return "\n".join(f"{n:<3} {module} {call} + {line * 4 + n * 64}" for n, call in enumerate(calls))
    if runtime == "Web":
        file = f"{device.app.host}/assets/{screen.lower()}.js"
        frames = [f"    at {call} ({file}:{line + n * 9}:{11 + n})" for n, call in enumerate(calls)]
        return "\n".join([f"{failure.type}: {failure.message.split('{')[0].strip()}", *frames])
    file = f"package:{package.rpartition('.')[2]}/{screen.lower()}.dart"
    return "\n".join(f"#{n}      {call} ({file}:{line + n * 11}:{7 + n})" for n, call in enumerate(calls))


def anr_attributes(rng: Random, device: Device, screen: str, fatal: bool) -> Json:
    """The attributes of an ANR on a screen: what the main thread was waiting for, and the other threads."""
    main = (
        '"main" prio=5 tid=1 Blocked\n'
        f"  at {device.app.id}.{screen}Repository.read({screen}Repository.kt:{between(rng, 20, 400)})\n"
        "  - waiting to lock <0x0a1b2c3d> held by thread 14\n"
        "  at android.os.Looper.loop(Looper.java:317)"
    )
    others = "\n".join(
        f'"worker-{n}" prio=5 tid={n + 10} Waiting\n  at java.lang.Object.wait(Native method)'
        for n in range(between(rng, 3, 40))
    )
    return {
        "exception.type": "ApplicationNotResponding",
        "exception.message": "Input dispatching timed out: waited 5001 ms for MotionEvent",
        "exception.stacktrace": f"{main}\n{others}",
        "fatal": fatal,
    }
