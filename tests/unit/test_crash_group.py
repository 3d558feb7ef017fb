"""Groups of crashes: what is alike, what is not, in every shape that stack traces come in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.event import Kind
from pipeline.formats.stacks.crash_group import ATTRIBUTES, VERSION, CrashGroup, group_of, kind_of
from pipeline.formats.stacks.frames import read_stack
from pipeline.formats.stacks.names import file_name
from pipeline.formats.stacks.shown import shown_stack

APP = "org.example.shop"


def group(kind: str = "crash", **attributes: Any) -> CrashGroup:
    return group_of(
        APP, kind, orjson.dumps({f"exception.{name}": value for name, value in attributes.items()})
    )


def of_stack(stack: str, type: str = "E", message: str = "m") -> CrashGroup:
    return group(type=type, message=message, stacktrace=stack)


JVM = """java.lang.IllegalStateException: cart is empty
\tat org.example.shop.Cart.pay({file}:{line})
\tat org.example.shop.CartActivity$onCreate$1.invoke(CartActivity.kt:{line})
\tat android.os.Handler.dispatchMessage(Handler.java:{line})
\tat java.lang.reflect.Method.invoke(Native Method)"""
V8 = """TypeError: Cannot read properties of undefined (reading 'items')
    at Cart.pay (https://shop.example/assets/cart.{hash}.js:{line}:11)
    at async https://shop.example/assets/main.{hash}.js:{line}:2
    at processTicksAndRejections (node:internal/process/task_queues:95:5)"""
FIREFOX = """pay@https://shop.example/assets/cart.{hash}.js:{line}:11
onClick@https://shop.example/assets/main.{hash}.js:{line}:2
@https://shop.example/node_modules/react-dom/index.js:1:1"""
SAFARI = """pay@https://shop.example/assets/cart.{hash}.js:{line}:11
[native code]
module code@https://shop.example/assets/main.{hash}.js:{line}:2"""
DART = """#0      CartState.pay (package:shop/cart.dart:{line}:7)
#1      CartState.build.<anonymous closure> (package:shop/cart.dart:{line}:3)
#2      _rootRun (dart:async/zone.dart:1399:13)
#3      StatefulElement.build (package:flutter/src/widgets/framework.dart:5599:27)"""
DART_OBFUSCATED = """*** *** *** *** *** *** *** *** *** *** ***
pid: 1, tid: {line}, name 1.ui
isolate_dso_base: {address}, vm_dso_base: {address}
    #00 abs 0000007bac5cda5b virt 00000000002cda5b _kDartIsolateSnapshotInstructions+0x1cda1b
    #01 abs {address} virt 00000000002cda5b _kDartIsolateSnapshotInstructions+0x1cda1b"""
APPLE = """0   libsystem_kernel.dylib              {address} __pthread_kill + 8
1   Shop                                {address} -[CartController pay:] + {line}
2   Shop                                {address} closure #{n} in CartView.body.getter + {line} (CartView.swift:{line})
3   UIKitCore                           {address} -[UIApplication sendAction:] + 100"""
APPLE_WITHOUT_SYMBOLS = """0   CoreFoundation {address} {address} + {line}
1   Shop {address} {address} + {line}
2   ??? {address} 0x0 + {line}"""
NATIVE = """      #00 pc {address}  /apex/com.android.runtime/lib64/bionic/libc.so (abort+164) (BuildId: 0011)
      #01 pc {address}  /data/app/~~{hash}==/shop/lib/arm64/libcart.so (Cart::pay(int)+{line}) (BuildId: {hash})
      #02 pc {address}  /data/app/~~{hash}==/org.example.shop/lib/arm64/libcart.so (offset 0x1000) (run_loop+{line})"""
ANR = """"Signal Catcher" daemon prio=5 tid={n} Runnable
  at org.example.shop.Noise.make(Noise.kt:{line})
"main" prio=5 tid=1 Blocked
  at java.lang.Object.wait(Native Method)
  at org.example.shop.CartRepository.read(CartRepository.kt:{line})
  - waiting to lock <{address}> held by thread {n}
  at android.os.Looper.loop(Looper.java:{line})
"worker-{n}" prio=5 tid={n} Waiting
  at org.example.shop.Worker{n}.run(Worker.kt:{line})"""
SENTRY = """org.example.shop.Cart.pay (Cart.kt:{line})
android.app.ActivityThread.main (ActivityThread.java:{line})"""
FARO = """pay (https://shop.example/assets/cart-{hash}.js:{line}:37)
? (https://shop.example/assets/main-{hash}.js:{line}:2)
listOnTimeout (node:internal/timers:581:17)"""
HERMES = """TypeError: undefined is not a function
    at pay (address at index.android.bundle:1:{line})
    at anonymous (address at index.android.bundle:1:{line})"""
PYTHON = """Traceback (most recent call last):
  File "/usr/lib/python3.11/runpy.py", line {line}, in run
    exec()
  File "/srv/shop/cart.py", line {line}, in pay
    raise ValueError
ValueError: bad"""
SHAPES: Mapping[str, tuple[str, str]] = {
    "jvm": (JVM, "Cart.pay (Cart.kt)"),
    "v8": (V8, "Cart.pay (cart.js)"),
    "firefox": (FIREFOX, "pay (cart.js)"),
    "safari": (SAFARI, "pay (cart.js)"),
    "dart": (DART, "CartState.pay (package:shop/cart.dart)"),
    "dart, obfuscated": (DART_OBFUSCATED, ""),
    "apple": (APPLE, "-[CartController pay:] (Shop)"),
    "apple, without symbols": (APPLE_WITHOUT_SYMBOLS, "Shop"),
    "native": (NATIVE, "Cart::pay(int) (libcart.so)"),
    "anr": (ANR, "CartRepository.read (CartRepository.kt)"),
    "sentry": (SENTRY, "Cart.pay (Cart.kt)"),
    "faro": (FARO, "pay (cart.js)"),
    "hermes": (HERMES, "pay (index.android.bundle)"),
    "python": (PYTHON, "pay (cart.py)"),
}


def written(shape: str, line: int, hash: str, address: str) -> str:
    return shape.format(file="Cart.kt", line=line, hash=hash, address=address, n=line % 7)


@pytest.mark.parametrize("name", SHAPES)
def test_lines_addresses_and_hashes_tell_nothing_apart(name: str) -> None:
    shape, culprit = SHAPES[name]
    first = of_stack(written(shape, 12, "3f2a9c0d", "0x00000001028a1108"))
    second = of_stack(written(shape, 345, "b77e01aa", "0x000000010446a110"))
    assert first == second
    assert first.culprit == culprit


@pytest.mark.parametrize(
    "name", [name for name in SHAPES if name not in ("dart, obfuscated", "apple, without symbols")]
)
def test_another_method_is_another_group_and_another_message_is_not(name: str) -> None:
    stack = written(SHAPES[name][0], 12, "3f2a9c0d", "0x00000001028a1108")
    renamed = stack.replace("pay", "refund").replace("CartRepository.read", "CartRepository.write")
    assert stack != renamed
    assert of_stack(stack).id != of_stack(renamed).id
    assert of_stack(stack).id == of_stack(stack, message="quite another").id
    assert of_stack(stack).id != of_stack(stack, type="F").id


def test_two_bugs_under_one_exception_are_two_groups() -> None:
    """D2: `NSInvalidArgumentException -[NSNull length]` from GalleryDecoder and CartDecoder."""
    found = {
        of_stack(
            f"0   Shop {screen}Decoder.decode(_:) + 136\n1   Shop {screen}Controller.load + 200",
            "NSInvalidArgumentException",
        )
        for screen in ("Gallery", "Cart")
    }
    assert {each.culprit for each in found} == {
        "GalleryDecoder.decode(_:) (Shop)",
        "CartDecoder.decode(_:) (Shop)",
    }
    assert len({each.id for each in found}) == 2


def test_a_signal_is_a_name() -> None:
    """D1: Measure has it in the exception alone, and rows that an older release stored lack the type."""
    frames = [{"binary_name": "Shop", "in_app": True, "symbol_address": "00000001028a1108"}]
    for signal in ("SIGABRT", "SIGSEGV"):
        found = group(exceptions=[{"type": "", "message": "", "signal": signal, "frames": frames}])
        assert found.title == signal
    assert group(exceptions=[{"signal": "SIGABRT"}]).id != group(exceptions=[{"signal": "SIGSEGV"}]).id


def test_what_the_sdk_says_of_its_frames_goes_before_where_they_are() -> None:
    def frames(is_own: bool) -> list[dict[str, Any]]:
        return [
            {"class_name": "android.Odd", "method_name": "run", "file_name": "Odd.java", "in_app": is_own},
            {"class_name": "org.example.shop.Cart", "method_name": "pay", "file_name": "Cart.kt"},
        ]

    assert group(exceptions=[{"type": "E", "frames": frames(True)}]).culprit == "android.Odd.run (Odd.java)"
    assert group(exceptions=[{"type": "E", "frames": frames(False)}]).culprit == "Cart.pay (Cart.kt)"


def test_without_symbols_the_libraries_and_the_message_count() -> None:
    stack = written(APPLE_WITHOUT_SYMBOLS, 12, "", "0x00000001028a1108")
    assert of_stack(stack).id != of_stack(stack, message="other").id
    assert of_stack(stack).id != of_stack(stack.replace("CoreFoundation", "UIKitCore")).id
    assert of_stack(stack).id == of_stack(stack.replace("1   Shop ", "1   Shop.debug.dylib ")).id


@pytest.mark.parametrize(
    ("message", "same", "other"),
    [
        ("index 5 beyond bounds for 3", "index 17 beyond bounds for 0", "key 5 beyond bounds for 3"),
        ("no user 0f8fad5b-d9cb-469f-a165-70867728950e", "no user 7c9e6679-7425-40de-944b-e07fc1f90ae7", "no device 1"),
        ("mail to a.b@example.org bounced", "mail to c@example.com bounced", "mail to nobody bounced"),
        ("at 0x7bac5cda5b", "at 0x1", "in 0x1"),
    ],
    ids=["numbers", "ids", "mail", "addresses"],
)  # fmt: skip
def test_without_a_stack_the_message_counts_but_for_what_varies(message: str, same: str, other: str) -> None:
    assert group(type="E", message=message).id == group(type="E", message=same).id
    assert group(type="E", message=message).id != group(type="E", message=other).id


def test_the_cause_with_the_apps_own_code_counts() -> None:
    """The outer ones wrap it, with frames of the system alone."""
    stack = (
        "java.lang.RuntimeException: Unable to start\n\tat android.app.ActivityThread.main(ActivityThread.java:1)\n"
        "Caused by: java.io.IOException: no route\n\tat org.example.shop.Api.load(Api.kt:1)\n\t... 3 more\n"
        "Caused by: java.net.SocketException: reset\n\tat java.net.Socket.read(Socket.java:1)"
    )
    found = of_stack(stack, "java.lang.RuntimeException", "Unable to start activity")
    assert (found.title, found.culprit) == ("IOException: no route", "Api.load (Api.kt)")
    assert (
        found.id
        != of_stack(stack.replace("java.io.IOException", "java.lang.Error"), "java.lang.RuntimeException").id
    )


def test_what_compilers_count_tells_nothing_apart() -> None:
    stacks = [
        f"\tat org.example.shop.Cart$$ExternalSyntheticLambda{n}.run(D8$$SyntheticClass)\n"
        f"\tat org.example.shop.Cart.lambda$pay${n}(Cart.kt:{n})\n\tat org.example.shop.Cart.b({file}:{n})"
        for n, file in ((0, "SourceFile"), (12, "r8-map-id-3f2a"))
    ]
    assert of_stack(stacks[0]) == of_stack(stacks[1])


def test_recursion_of_any_depth_is_one_group() -> None:
    head, call = (
        "java.lang.StackOverflowError: stack size 8MB\n",
        "\tat org.example.shop.Tree.walk(Tree.kt:3)\n",
    )
    assert of_stack(head + call * 5).id == of_stack(head + call * 300).id


def test_an_anr_goes_by_where_the_main_thread_is_and_not_by_the_class_that_noticed() -> None:
    stack = written(ANR, 1, "", "0x1")
    assert group("anr", type="a.b", stacktrace=stack).id == group("anr", type="q3.b", stacktrace=stack).id
    assert group("anr", message="no answer for 5 s").title == "ANR: no answer for 5 s"


def test_kinds_do_not_mix_and_nothing_is_a_group_too() -> None:
    assert len({group(kind, type="E").id for kind in ("crash", "anr", "exception")}) == 3
    assert (group().title, group().culprit) == ("unknown error", "")
    assert kind_of("exception", Kind.EXCEPTION.label) == kind_of("app.crash", Kind.CRASH.label) == "crash"
    assert (kind_of("exception", "activity"), kind_of("app.anr", "anr"), kind_of("log", "activity")) == (
        "exception",
        "anr",
        "",
    )


def test_the_report_of_apples_crash_reporter() -> None:
    calls = [
        {"object_name": "libsystem_c.dylib", "symbol_name": "abort"},
        {"object_name": "Shop", "symbol_name": "pay()"},
    ]
    report = {"crash": {"threads": [{"crashed": False}, {"crashed": True, "backtrace": {"contents": calls}}]}}
    found = group_of(
        APP,
        "crash",
        orjson.dumps({"emb.payload": orjson.dumps(report).decode(), "exception.type": "SIGABRT"}),
    )
    assert (found.title, found.culprit) == ("SIGABRT", "pay() (Shop)")


def test_the_id_names_the_version_and_stays() -> None:
    """An id that changes splits the group of everyone's bug in two: then VERSION is to be raised."""
    assert of_stack(written(JVM, 1, "", "")).id == "1-1c6a424506b01063"
    assert VERSION == 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
_LINES = st.lists(
    st.sampled_from([line for shape, _ in SHAPES.values() for line in shape.split("\n")])
    | st.text(max_size=40),
    max_size=12,
).map("\n".join)
_EXCEPTIONS = st.lists(
    st.dictionaries(st.sampled_from(["type", "message", "signal", "frames"]), _JSON | st.lists(st.dictionaries(
        st.sampled_from(["class_name", "method_name", "file_name", "binary_name", "in_app", "module_name"]), _JSON))),
    max_size=3,
)  # fmt: skip


@pytest.mark.slow
@given(
    st.dictionaries(st.sampled_from(ATTRIBUTES), _LINES | _EXCEPTIONS | _JSON, max_size=4),
    st.sampled_from(["crash", "anr", "exception"]),
)
def test_whatever_comes_has_one_group_as_it_came_and_as_it_is_stored(
    attributes: dict[str, Any], kind: str
) -> None:
    came = orjson.dumps(attributes)
    stored = {
        name: value if isinstance(value, str) else "" if value is None else orjson.dumps(value).decode()
        for name, value in attributes.items()
    }
    found = group_of(APP, kind, came)
    assert found == group_of(APP, kind, came) == group_of(APP, kind, orjson.dumps(stored))
    assert (
        found.id.startswith(f"{VERSION}-")
        and found.title
        and len(found.title) <= 300
        and len(found.culprit) <= 200
    )
    assert len(shown_stack(APP, stored)) <= 400


@pytest.mark.parametrize(
    "value", [b"", b"[]", b"\xff", b"{", b"[" * 100_000], ids=["nothing", "list", "bytes", "cut", "deep"]
)
def test_what_is_no_object_is_an_unknown_error(value: bytes) -> None:
    assert group_of(APP, "crash", value).title == "unknown error"
    assert group(exceptions=value.decode("latin-1"), stacktrace=5).title == "unknown error"


def test_shown_lines_tell_own_calls_apart() -> None:
    lines = shown_stack(APP, {"exception.stacktrace": written(JVM, 1, "", "")})
    assert [(line.is_call, line.is_own) for line in lines] == [
        (False, False), (True, True), (True, True), (True, False), (True, False),
    ]  # fmt: skip
    assert read_stack("")[0].frames == ()


@given(
    st.lists(st.sampled_from(["a", "f", "1", "_", ".", "-", "~", "G", "abcdef", "12ab34cd", "é"])).map(
        "".join
    )
)
def test_the_hash_of_a_file_is_what_one_expression_finds(name: str) -> None:
    """Which needs time that grows with the square of the name."""
    found = re.sub(r"[.\-_~](?=[0-9a-zA-Z_]*\d)[0-9a-zA-Z_]{6,}(?=\.)|[.\-](?:[0-9a-f]{8,})(?=\.)", "", name)
    assert file_name(name) == found
