"""What goes wrong in the simulated apps, worded as the platforms word it."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from pipeline.simulate.device import Device, Json
from pipeline.simulate.dice import Weighted, between, subseed

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
    """A bug: type and message of its exception (`{url}`, `{screen}` are filled in), and the calls that lead to it."""

    type: str
    message: str
    calls: tuple[str, str, str]
    """In code that all screens share, the innermost first."""


_BY_RUNTIME: dict[str, Weighted[Failure]] = {
    "Android": Weighted(
        [
            (
                Failure(
                    "java.lang.IllegalStateException",
                    "No data for {screen}: {url} failed",
                    ("ViewModel.render", "ViewModel.onResult", "Result.deliver"),
                ),
                50,
            ),
            (
                Failure(
                    "java.lang.NullPointerException",
                    "Parameter specified as non-null is null: body",
                    ("Repository.parse", "Repository.load", "Http.complete"),
                ),
                22,
            ),
            (
                Failure(
                    "org.json.JSONException",
                    "End of input at character 0 of {url}",
                    ("Api.decode", "Api.onBody", "Http.complete"),
                ),
                16,
            ),
            (
                Failure(
                    "java.lang.IndexOutOfBoundsException",
                    "Index: 0, Size: 0",
                    ("ListAdapter.bind", "ListAdapter.onBindViewHolder", "ListView.refresh"),
                ),
                8,
            ),
            (
                Failure(
                    "java.lang.OutOfMemoryError",
                    "Failed to allocate a 48771088-byte allocation",
                    ("ImageLoader.decode", "ImageLoader.load", "ImageView.show"),
                ),
                4,
            ),
        ]
    ),
    "iOS": Weighted(
        [
            (
                Failure(
                    "EXC_BREAKPOINT",
                    "Found nil while unwrapping the answer of {url}",
                    ("ViewModel.render()", "ViewModel.receive(_:)", "Result.deliver()"),
                ),
                50,
            ),
            (
                Failure(
                    "NSInvalidArgumentException",
                    "-[NSNull length]: unrecognized selector",
                    ("Decoder.decode(_:)", "Api.decode(_:)", "HttpClient.complete(_:)"),
                ),
                26,
            ),
            (
                Failure(
                    "EXC_BAD_ACCESS",
                    "KERN_INVALID_ADDRESS at 0x0000000000000018",
                    ("ImageCache.evict()", "ImageCache.insert(_:)", "ImageLoader.finish(_:)"),
                ),
                14,
            ),
            (
                Failure(
                    "NSRangeException",
                    "index 0 beyond bounds for empty array",
                    ("DataSource.cell(at:)", "DataSource.reload()", "ListView.refresh()"),
                ),
                10,
            ),
        ]
    ),
    "Web": Weighted(
        [
            (
                Failure(
                    "TypeError",
                    "Cannot read properties of undefined (reading 'items')",
                    ("ItemList.render", "Store.notify", "Store.receive"),
                ),
                60,
            ),
            (
                Failure(
                    "SyntaxError",
                    "Unexpected end of JSON input from {url}",
                    ("Api.parse", "Api.get", "Store.load"),
                ),
                25,
            ),
            (
                Failure(
                    "ChunkLoadError",
                    "Loading chunk {screen} failed",
                    ("Chunks.load", "Router.open", "Router.go"),
                ),
                15,
            ),
        ]
    ),
    "flutter": Weighted(
        [
            (
                Failure(
                    "_TypeError",
                    "Null check operator used on a null value",
                    ("ResultState.build", "ResultState.update", "Bloc.emit"),
                ),
                55,
            ),
            (
                Failure(
                    "FormatException",
                    "Unexpected end of input (at character 1) in {url}",
                    ("Api.decode", "Api.get", "Bloc.load"),
                ),
                30,
            ),
            (
                Failure(
                    "StateError", "Bad state: No element", ("Model.first", "Model.selected", "Bloc.select")
                ),
                15,
            ),
        ]
    ),
}
_FLAGS = ("FeatureFlags.value", "FeatureFlags.isOn", "Rollout.decide")
_OF_RELEASE: dict[str, Failure] = {
    "Android": Failure(
        "kotlin.UninitializedPropertyAccessException",
        "lateinit property flags has not been initialized",
        _FLAGS,
    ),
    "iOS": Failure(
        "EXC_BREAKPOINT",
        "Flags read before they were loaded",
        ("FeatureFlags.value(of:)", "FeatureFlags.isOn(_:)", "Rollout.decide()"),
    ),
    "Web": Failure("ReferenceError", "Cannot access 'flags' before initialization", _FLAGS),
    "flutter": Failure("LateInitializationError", "Field 'flags' has not been initialized.", _FLAGS),
}
"""What the releases that crash so often brought."""
_OF_RELEASE_PERCENT = 85
"""Of the crashes of such a release."""
_HANGS = (
    ("Database.query", "Repository.read", "Repository.refresh"),
    ("Preferences.commit", "SessionStore.save", "SessionStore.onPause"),
)
"""What the main thread waits for."""


def exception_attributes(rng: Random, device: Device, screen: str, url: str) -> Json:
    """The attributes of a crash or exception on a screen, after a request to a URL failed."""
    is_flutter = device.platform != "Web" and device.sdk.fatal_name == "exception"
    runtime = "flutter" if is_flutter else device.platform
    failure = _BY_RUNTIME[runtime].pick(rng)
    line = between(rng, 20, 400)
    if device.release.crash_factor > 1 and line * 100 < 20 * 100 + 380 * _OF_RELEASE_PERCENT:
        failure = _OF_RELEASE[runtime]
    return {
        "exception.type": failure.type,
        "exception.message": failure.message.format(url=url, screen=screen),
        "exception.stacktrace": _stack(line, device, runtime, screen, failure),
        "thread.name": "main",
    }


def _stack(line: int, device: Device, runtime: str, screen: str, failure: Failure) -> str:
    """The shared code is at the same lines in all stacks of a build, the screen's own is anywhere."""
    package = device.app.id
    calls = [
        *((call, subseed(device.release.build, call) % 400 + 20) for call in failure.calls),
        (f"{screen}Controller.onAnswer", line),
        (f"{screen}Controller.load", line + 17),
    ]
    head = f"{failure.type}: {failure.message.split('{')[0].strip()}"
    if runtime == "Android":
        frames = [f"\tat {package}.{call}({call.split('.')[0]}.kt:{at})" for call, at in calls]
        return "\n".join([head, *frames, *_ANDROID_FRAMES])
    if runtime == "iOS":
        module = package.rpartition(".")[2].capitalize()
        frames = [
            f"{n:<3} {module:<30} 0x{_IMAGE_BASE + at * 64:016x} {call} + {at * 4}"
            for n, (call, at) in enumerate(calls)
        ]
        return "\n".join(frames + [f"{n + len(calls):<3} {frame}" for n, frame in enumerate(_IOS_FRAMES)])
    if runtime == "Web":
        file = f"{device.app.host}/assets"
        frames = [
            f"    at {call} ({file}/{call.split('.')[0].lower()}.js:{at}:{11 + n})"
            for n, (call, at) in enumerate(calls)
        ]
        return "\n".join([head, *frames])
    file = f"package:{package.rpartition('.')[2]}"
    return "\n".join(
        f"#{n}      {call} ({file}/{call.split('.')[0].lower()}.dart:{at}:{7 + n})"
        for n, (call, at) in enumerate(calls)
    )


_ANDROID_FRAMES = (
    "\tat android.os.Handler.handleCallback(Handler.java:959)",
    "\tat android.os.Looper.loop(Looper.java:317)",
    "\tat android.app.ActivityThread.main(ActivityThread.java:8592)",
)
_IOS_FRAMES = (
    "UIKitCore                      0x0000000187a1f3c8 -[UIApplication _run] + 816",
    "UIKitCore                      0x0000000187a1e9d4 UIApplicationMain + 336",
)
_IMAGE_BASE = 0x104A00000


def anr_attributes(rng: Random, device: Device, screen: str, fatal: bool) -> Json:
    """The attributes of an ANR on a screen: what the main thread was waiting for, and the other threads."""
    package, line = device.app.id, between(rng, 20, 400)
    waiting = "\n".join(
        f"  at {package}.{call}({call.split('.')[0]}.kt:{subseed(device.release.build, call) % 400 + 20})"
        for call in _HANGS[line % len(_HANGS)]
    )
    main = (
        '"main" prio=5 tid=1 Blocked\n'
        "  - waiting to lock <0x0a1b2c3d> held by thread 14\n"
        f"{waiting}\n"
        f"  at {package}.{screen}Controller.onPause({screen}Controller.kt:{line})\n"
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
