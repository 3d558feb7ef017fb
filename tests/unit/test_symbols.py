"""Stacks in the words of the source: every kind of file and of trace, what is missing, and files that are none."""

from __future__ import annotations

import re
import subprocess
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from symbolic.proguard import ProguardMapper

from pipeline.formats.sentry.items import event_fact
from pipeline.formats.sentry.sender import SentrySdk
from pipeline.formats.stacks.asking import AppBuild, AskedFile, missing
from pipeline.formats.stacks.crash_group import group_of
from pipeline.formats.stacks.places import place_of
from pipeline.formats.stacks.shown import StackLine, shown_stack
from pipeline.formats.stacks.symbolicate import READ, symbolicated, texts_of
from pipeline.formats.stacks.symbols import Need
from pipeline.query.symbols import named, upload_command
from pipeline.storage.columns import RESOURCE_FACTS
from pipeline.storage.crash_rows import grouped
from pipeline.symbols import library, reading
from pipeline.symbols.library import SymbolImage, Unreadable
from pipeline.symbols.mapping_index import PartedMapping, mapping_id, parts_of
from pipeline.symbols.matching import Matcher
from pipeline.symbols.shelf import Remembered, Shelf
from tests.support.recorded import bodies, recorded_files
from tests.support.stack import unavailable
from tests.support.symbols import CART_UUID, DATA, InMemory, compiled, read, refused, stored_file

APP = "org.example.shop"
NOW = AppBuild(APP, "2.0", "7")
BASE = 0x100EF8000
"""Where an image was loaded to."""
CART_PAY, IN_CHECKOUT = 0x1498, 0x14B8
"""In the dSYM; the second is where the call of `cart_pay` comes back to."""

R8 = """a.c: cart is empty
\tat a.a.a(SourceFile:2)
\tat a.b.onCreate(r8-map-id-3f2a9c0:1)
\tat a.d.onClick(Unknown Source:1)
\tat android.os.Handler.dispatchMessage(Handler.java:106)
Caused by: a.c: deeper
\tat a.a.a(SourceFile:1)
\tat a.b.c(SourceFile)"""
R8_IN_THE_SOURCE = """org.example.shop.EmptyCart: cart is empty
\tat org.example.shop.Money.plus(Money.kt:40)
\tat org.example.shop.Cart.pay(Cart.kt:14)
\tat org.example.shop.CartActivity.onCreate(CartActivity.kt:21)
\tat org.example.shop.CartActivity.lambda$onCreate$0(CartActivity.kt:25)
\tat android.os.Handler.dispatchMessage(Handler.java:106)
Caused by: org.example.shop.EmptyCart: deeper
\tat org.example.shop.Cart.pay(Cart.kt:12)
\tat org.example.shop.CartActivity.read(CartActivity.kt)"""
V8 = """TypeError: Cannot read properties of undefined (reading 'reduce')
    at n (https://shop.example/assets/main.3f2a9c0d.js:1:58)
    at async o (https://shop.example/assets/main.3f2a9c0d.js?x=1:1:105)
    at https://shop.example/assets/main.3f2a9c0d.js:1:207"""
SCRIPTS = {
    "v8": (V8, ["    at total (cart.ts:3)", "    at pay (cart.ts:6)", "    at main.ts:6"]),
    "firefox": (
        "n@https://shop.example/assets/main.3f2a9c0d.js:1:58\nu@https://shop.example/assets/main.3f2a9c0d.js:1:197",
        ["total (cart.ts:3)", "checkout (main.ts:4)"],
    ),
    "faro and sentry": (
        "? (https://shop.example/assets/main.3f2a9c0d.js:1:105)\nu (app:///assets/main.3f2a9c0d.js:1:197)",
        ["pay (cart.ts:6)", "checkout (main.ts:4)"],
    ),
}


@pytest.fixture(scope="module")
def files() -> InMemory:
    made = InMemory()
    made.put(APP, read(DATA / "mapping.txt"), "2.0", "7")
    made.put(APP, read(DATA / "assets"), "2.0")
    made.put(APP, read(DATA / "Cart.dSYM.zip"))
    return made


@pytest.fixture(scope="module")
def shelf(files: InMemory) -> Shelf:
    return Shelf(files)


def lines(shelf: Shelf | None, attributes: Mapping[str, str], app: AppBuild = NOW) -> list[StackLine]:
    told = symbolicated(app, attributes, shelf)
    return shown_stack(APP, told.attributes, told.raw)


def asked(attributes: Mapping[str, str], shelf: Shelf | None = None, app: AppBuild = NOW) -> list[AskedFile]:
    return symbolicated(app, attributes, shelf).asked


def of_stack(stack: str, type: str = "") -> dict[str, str]:
    return {"exception.stacktrace": stack, **({"exception.type": type} if type else {})}


def test_a_trace_of_r8_is_what_the_debug_build_would_have_written(shelf: Shelf) -> None:
    told = symbolicated(NOW, of_stack(R8, "a.c"), shelf)
    assert told.attributes["exception.stacktrace"] == R8_IN_THE_SOURCE
    assert told.attributes["exception.type"] == "org.example.shop.EmptyCart"
    debug = of_stack(R8_IN_THE_SOURCE, "org.example.shop.EmptyCart")
    assert grouped(NOW, "crash", of_stack(R8, "a.c"), shelf)[0] == grouped(NOW, "crash", debug, None)[0]
    assert grouped(NOW, "crash", of_stack(R8, "a.c"), None)[0] != grouped(NOW, "crash", debug, None)[0]


def test_a_resolved_line_has_how_it_came_beside_it_and_its_real_name_says_whose_it_is(shelf: Shelf) -> None:
    first, plus, pay, *_ = lines(shelf, of_stack(R8))
    assert first == StackLine("org.example.shop.EmptyCart: cart is empty", False, False, "a.c: cart is empty")
    assert plus == StackLine(
        "\tat org.example.shop.Money.plus(Money.kt:40)", True, True, "at a.a.a(SourceFile:2)"
    )
    assert pay.raw == plus.raw, "one line of the build, in which another call was inlined"
    mapping = b"androidx.core.Odd -> a.a:\n    1:1:void run():5:5 -> a\n"
    other = InMemory()
    other.put(APP, [reading._of_mapping("mapping.txt", mapping)], "2.0", "7")
    (line,) = lines(Shelf(other), of_stack("\tat a.a.a(SourceFile:1)"))
    assert (line.text, line.is_own) == ("\tat androidx.core.Odd.run(Unknown Source)", False)
    (line,) = lines(None, of_stack("\tat a.a.a(SourceFile:1)"))
    assert (line.is_own, line.raw) == (True, "")


def test_the_exceptions_of_measure_are_read_by_a_mapping_too(shelf: Shelf) -> None:
    frame = {"class_name": "a.a", "method_name": "a", "file_name": "SourceFile", "line_num": 2}
    attributes = {"exception.exceptions": orjson.dumps([{"type": "a.c", "frames": [frame]}]).decode()}
    assert [line.text for line in lines(shelf, attributes)] == [
        "org.example.shop.EmptyCart",
        "\tat org.example.shop.Money.plus (Money.kt:40)",
        "\tat org.example.shop.Cart.pay (Cart.kt:14)",
    ]
    debug = of_stack("org.example.shop.EmptyCart\n" + "\n".join(R8_IN_THE_SOURCE.split("\n")[1:3]))
    assert (
        grouped(NOW, "crash", attributes, shelf)[0].culprit == grouped(NOW, "crash", debug, None)[0].culprit
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_told_by_their_source_map(shelf: Shelf, name: str) -> None:
    stack, expected = SCRIPTS[name]
    found = lines(shelf, of_stack(stack))
    assert [line.text for line in found if line.is_call] == expected
    assert all(line.raw for line in found if line.is_call) and all(
        line.is_own for line in found if line.is_call
    )


def test_a_source_map_without_its_script_tells_lines_alone(tmp_path: Path) -> None:
    (tmp_path / "main.3f2a9c0d.js.map").write_bytes((DATA / "assets/main.3f2a9c0d.js.map").read_bytes())
    alone = InMemory()
    alone.put(APP, read(tmp_path / "main.3f2a9c0d.js.map"), "2.0")
    found = [line.text for line in lines(Shelf(alone), of_stack(V8)) if line.is_call]
    assert found == ["    at n (cart.ts:3)", "    at o (cart.ts:6)", "    at main.ts:6"]


def test_an_elf_library_is_found_by_its_build_id(tmp_path: Path) -> None:
    library_file = compiled(tmp_path)
    there = InMemory()
    there.put(APP, read(library_file))
    (file,) = there.files
    assert (file.kind, file.name) == ("native", "libcart.so") and len(file.code_id) == 40
    assert file.kept_bytes < file.size / 4, "what is kept is a fraction of the file"
    symbols = subprocess.check_output(["nm", "-g", "--defined-only", library_file], text=True)
    addresses = {name: int(address, 16) for address, _, name in map(str.split, symbols.splitlines())}
    image = f"/data/app/x/lib/arm64/libcart.so (BuildId: {file.code_id})"
    stack = (
        f"      #00 pc {addresses['cart_pay']:016x}  {image}\n"
        "      #01 pc 00000001  /apex/com.android.runtime/lib64/bionic/libc.so (abort+164) (BuildId: 0011)"
    )
    found = lines(Shelf(there), of_stack(stack))
    assert [line.text for line in found[:2]] == ["\tat first_item (cart.c:2)", "\tat cart_pay (cart.c:4)"]
    assert [line.is_own for line in found] == [True, True, False]
    # The system's library is nobody's to upload.
    assert [each.need.id for each in asked(of_stack(stack))] == [file.code_id]


def measure(uuid: str = CART_UUID) -> dict[str, str]:
    frames = [
        {"binary_name": "Cart", "binary_address": f"{BASE:x}", "symbol_address": f"{BASE + at:016x}", "in_app": True}
        for at in (CART_PAY, IN_CHECKOUT)
    ]  # fmt: skip
    frames.append(
        {"binary_name": "UIKitCore", "binary_address": "184cd9000", "symbol_address": "0000000185d7a0cc"}
    )
    image = {
        "start_addr": f"{BASE:x}",
        "end_addr": f"{BASE + 0x4000:x}",
        "name": "Cart",
        "arch": "arm64",
        "uuid": uuid,
    }
    return {
        "exception.exceptions": orjson.dumps([{"type": "", "signal": "SIGSEGV", "frames": frames}]).decode(),
        "exception.binary_images": orjson.dumps([image]).decode(),
        "exception.stacktrace": "SIGSEGV\n\tat Cart 0000000100ef9498",
    }


def kscrash() -> dict[str, str]:
    calls = [
        {
            "instruction_addr": BASE + at,
            "object_addr": BASE,
            "object_name": "Cart",
            "symbol_name": "<redacted>",
        }
        for at in (CART_PAY, IN_CHECKOUT)
    ]
    image = {
        "image_addr": BASE, "image_size": 0x4000, "name": "/x/Cart.app/Cart", "cpu_type": 16777228,
        "uuid": "2CA506CA-8D6E-3DFF-95BC-8A2A53D941A0",
    }  # fmt: skip
    threads = [{"crashed": False}, {"crashed": True, "backtrace": {"contents": calls}}]
    report = {"crash": {"threads": threads}, "binary_images": [image]}
    return {"emb.payload": orjson.dumps(report).decode(), "exception.type": "SIGSEGV"}


def test_a_dsym_tells_what_measure_and_embrace_send_as_addresses(shelf: Shelf) -> None:
    expected = ["\tat first_item (cart.c:2)", "\tat cart_pay (cart.c:4)", "\tat checkout (cart.c:11)"]
    for attributes in (measure(), kscrash()):
        found = [line for line in lines(shelf, attributes) if line.is_call]
        assert [line.text for line in found[:3]] == expected
        assert [line.raw for line in found[:3]] == [
            "Cart 0x100ef9498",
            "Cart 0x100ef9498",
            "Cart 0x100ef94b8",
        ]
        assert [line.is_own for line in found] == [True, True, True, *([False] * (len(found) - 3))]
        group, (file,) = grouped(NOW, "crash", attributes, shelf)
        assert (group.title, group.culprit) == ("SIGSEGV", "first_item (cart.c)")
        assert (file.need.id, file.need.arch, bool(file.file)) == (CART_UUID, "arm64", True)
    assert len({grouped(NOW, "crash", each, shelf)[0].id for each in (measure(), kscrash())}) == 1


def test_sentrys_frames_and_images_are_read_by_the_same_files(shelf: Shelf) -> None:
    sdk = SentrySdk._make([""] * len(SentrySdk._fields))
    frames: list[dict[str, object]] = [
        {"instruction_addr": "0x10"},
        {"instruction_addr": hex(BASE + IN_CHECKOUT), "package": "/x/Cart.app/Cart"},
        {"instruction_addr": hex(BASE + CART_PAY), "package": "/x/Cart.app/Cart"},
    ]
    image = {
        "type": "macho", "debug_id": "2CA506CA-8D6E-3DFF-95BC-8A2A53D941A0", "image_addr": hex(BASE),
        "image_size": 0x4000, "code_file": "/x/Cart.app/Cart",
    }  # fmt: skip
    thrown = {"type": "SIGSEGV", "stacktrace": {"frames": frames}}
    event = {"exception": {"values": [thrown]}, "debug_meta": {"images": [image, None, {"type": "macho"}]}}
    attributes = event_fact(event, sdk).attributes
    assert [line.text for line in lines(shelf, attributes)] == [
        "\tat first_item (cart.c:2)", "\tat cart_pay (cart.c:4)", "\tat checkout (cart.c:11)", "0x10 ()",
    ]  # fmt: skip
    frames = [{"module": "a.a", "function": "a", "filename": "SourceFile", "lineno": 1}]
    (mapping,) = read(DATA / "mapping.txt")
    thrown = {"type": "a.c", "stacktrace": {"frames": frames}}
    images = {"images": [{"type": "proguard", "uuid": mapping.id}]}
    attributes = event_fact({"exception": {"values": [thrown]}, "debug_meta": images}, sdk).attributes
    # The UUID finds it, whatever the release is called.
    (line,) = lines(shelf, attributes, AppBuild(APP, "another", ""))
    assert line.text == "org.example.shop.Cart.pay (Cart.kt:12)"


def test_sentrys_scripts_are_found_by_their_debug_ids() -> None:
    """Whatever the release is called: the same URL has another script in each."""
    sdk = SentrySdk._make([""] * len(SentrySdk._fields))
    url, id = "https://shop.example/assets/main.js", "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
    frames = [{"function": "e", "abs_path": url, "filename": url, "lineno": 1, "colno": 37, "in_app": True}]
    images = [{"type": "sourcemap", "code_file": url, "debug_id": id}, {"type": "sourcemap", "code_file": 7}]
    thrown = {"type": "TypeError", "stacktrace": {"frames": frames}}
    event = {"exception": {"values": [thrown]}, "debug_meta": {"images": images}}
    attributes = event_fact(event, sdk).attributes
    (file,) = asked({name: str(value) for name, value in attributes.items()})
    assert file.need == Need("sourcemap", id.replace("-", ""), url, "", "2.0", "7") and file.is_wanted
    # What is no object of texts names no script.
    (file,) = asked({**attributes, "symbols.script_ids": "[1]"})
    assert file.need.id == ""


def test_apples_text_has_no_id_and_goes_by_the_name_of_the_image(shelf: Shelf) -> None:
    stack = f"0   CoreFoundation 0x18 0x18 + 12\n1   Cart 0x100ef94b8 0x100ef8000 + {IN_CHECKOUT}"
    assert [line.text for line in lines(shelf, of_stack(stack))][1] == "\tat checkout (cart.c:11)"
    (file,) = asked(of_stack(stack))
    assert file.need == Need("native", "", "Cart", "", "2.0", "7") and file.is_wanted


def test_what_is_missing_is_told_and_nothing_else_is_changed() -> None:
    nothing = Shelf(InMemory())
    other = AppBuild(APP, "3.0", "8")
    for attributes, need, words in (
        (of_stack(R8, "a.c"), Need("proguard", "", "", "", "3.0", "8"),
         "the mapping of R8 or ProGuard of version 3.0, build 8"),
        (of_stack(V8), Need("sourcemap", "", "https://shop.example/assets/main.3f2a9c0d.js", "", "3.0", "8"),
         "the source map of https://shop.example/assets/main.3f2a9c0d.js, of version 3.0, build 8"),
        (measure("f" * 32), Need("native", "f" * 32, "Cart", "arm64", "3.0", "8"),
         f"the dSYM or debug file of Cart (arm64) with the id {'f' * 32}"),
    ):  # fmt: skip
        told = symbolicated(other, attributes, nothing)
        assert missing(told.asked) == [need] and named(need) == words
        assert told.attributes == attributes and not told.raw
        group, _ = grouped(other, "crash", attributes, nothing)
        assert group == group_of(APP, "crash", orjson.dumps(attributes))
    assert upload_command("a b", Need("proguard", "", "", "", "3.0", "8")) == (
        "session-pipeline symbols upload --app 'a b' --version 3.0 --build 8 mapping.txt"
    )


def test_what_can_be_read_without_a_file_misses_none() -> None:
    debug = asked(of_stack(R8_IN_THE_SOURCE))
    assert [each.need.kind for each in debug] == ["proguard"], "it may tell what was inlined"
    assert missing(debug) == []
    for stack in (
        "at java.util.ArrayList.get(ArrayList.java:437)",
        "    at pay (webpack://shop/./src/cart.ts:3:1)",
        "    at listOnTimeout (node:internal/timers:581:17)",
        "0   UIKitCore 0x1 0x1 + 12",
        '  File "/srv/shop/cart.py", line 3, in pay',
    ):
        assert asked(of_stack(stack)) == [], stack


def test_what_was_recorded_says_which_files_it_needs() -> None:
    if not (files := recorded_files()):
        unavailable("recorded traffic not found beside the repository")
    needed: set[tuple[str, str, str, str]] = set()
    for body in bodies(files):
        for event in orjson.loads(body)["events"]:
            for name in ("exception", "anr"):
                told = event.get(name) or {}
                facts = {f"{name}.{key}": orjson.dumps(value).decode() for key, value in told.items()}
                by = event["attribute"]
                app = AppBuild(by["app_unique_id"], by["app_version"], by["app_build"])
                needed |= {(app.id, need.kind, need.name, need.id) for need in missing(asked(facts, app=app))}
    assert ("org.wikimedia.wikipedia", "native", "Wikipedia", "f3b44c4ef2fe326d9e516531e9c245c9") in needed
    assert (
        "sh.measure.DemoApp", "native", "DemoApp.debug.dylib", "a2078e4225753e149840bd7461ec5c52",
    ) in needed  # fmt: skip
    assert ("sh.measure.android.flutter", "native", "", "cde83d061ce50231ccbd75ad0ec0f20c") in needed
    assert ("sh.measure.sample", "proguard", "", "") in needed
    assert not [each for each in needed if each[2] in ("UIKitCore", "libc.so", "CoreFoundation")]


MAPPING = (DATA / "mapping.txt").read_bytes()


def parted(data: bytes, count: int) -> tuple[PartedMapping, list[int]]:
    """A mapping cut into so many parts, and which of them are read."""
    classes = data.split(b"\norg.")
    assert len(classes) > 3
    filler = b"".join(b"f.C%d -> z.z%d:\n    void run() -> a\n" % (n, n) for n in range(count * 2_500))
    parts, reads = parts_of(data + b"\n" + filler), list[int]()

    def part_of(number: int) -> bytes:
        reads.append(number)
        return parts[number]

    return PartedMapping(len(parts), part_of, lambda _, make: make()[0]), reads


def test_a_class_alone_says_what_the_whole_mapping_says(tmp_path: Path) -> None:
    mapping, reads = parted(MAPPING, 3)
    (tmp_path / "mapping.txt").write_bytes(MAPPING)
    whole = ProguardMapper.open(str(tmp_path / "mapping.txt"))
    asked_for = [
        (owner, method, line)
        for owner in ("a.a", "a.b", "a.c", "a.d", "a.e", "z.none")
        for method in ("a", "c", "onCreate", "onClick", "run")
        for line in (0, 1, 2, 4, 99)
    ]
    told = 0
    for owner, method, line in asked_for:
        found = [
            (f"{each.class_name}.{each.method}", each.file or "", each.line)
            for each in whole.remap_frame(owner, method, line)
        ]
        if found:
            told += 1
            assert [tuple(each) for each in map(as_told, mapping.calls(owner, method, line))] == found
        assert mapping.type_name(owner) == (whole.remap_class(owner) or "")
    assert told > 8
    assert len(set(reads)) < 12, "no part is read but those of classes that are asked for"
    assert mapping_id(MAPPING) == whole.uuid.hex


def as_told(call: Any) -> tuple[str, str, int]:
    return call.function, call.file, call.line


def test_what_a_mapping_knows_of_a_class_alone_is_told_without_its_method() -> None:
    mapping, _ = parted(MAPPING, 1)
    assert [as_told(each) for each in mapping.calls("a.c", "zz", 3)] == [
        ("org.example.shop.EmptyCart.zz", "EmptyCart.kt", 0)
    ]
    assert mapping.calls("q.q", "a", 1) == [] and mapping.type_name("q.q") == ""


def test_files_are_matched_by_id_and_else_by_version_and_build() -> None:
    def file(kind: str, name: str, version: str = "", build: str = "", id: str = "", arch: str = "") -> Any:
        made = reading._kept(kind, id, name, [f"{name}{version}{build}{id}{arch}".encode()], 1, arch=arch)  # type: ignore[arg-type]
        return stored_file(APP, made, version, build)

    listed = [
        file("proguard", "any.txt", "2.0"), file("proguard", "7.txt", "2.0", "7"),
        file("proguard", "id.txt", "9", id="ab" * 16),
        file("native", "Cart", id="cd" * 16, arch="arm64"), file("native", "Two", id="01" * 16, arch="arm64"),
        file("native", "Two", id="02" * 16, arch="x86_64"),
        file("sourcemap", "dist/other/main.js", "2.0"), file("sourcemap", "dist/assets/main.js", "2.0"),
        file("sourcemap", "assets/main.js", "1.0"),
    ]  # fmt: skip
    find = Matcher(listed).find

    def name(
        kind: Any, id: str = "", name: str = "", arch: str = "", version: str = "2.0", build: str = "7"
    ) -> str:
        found = find(Need(kind, id, name, arch, version, build))
        return f"{found.name} {found.arch}".strip() if found else ""

    assert name("proguard") == "7.txt" and name("proguard", build="8") == "any.txt"
    assert name("proguard", version="3.0") == "" and name("proguard", id="ab" * 16) == "id.txt"
    assert name("native", id="cd" * 16, name="Cart", version="77") == "Cart arm64"
    assert name("native", id="ee" * 16, name="Cart") == "", "of another build"
    assert name("native", name="Cart") == "Cart arm64"
    assert name("native", name="Two") == "" and name("native", name="Two", arch="x86_64") == "Two x86_64"
    assert name("sourcemap", name="https://a.example/assets/main.js") == "dist/assets/main.js"
    assert name("sourcemap", name="https://a.example/assets/main.js", version="1.0") == "assets/main.js"
    assert name("sourcemap", name="https://a.example/other.js") == ""
    assert name("sourcemap", name="https://[broken/main.js") == "dist/other/main.js"


def written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def broken(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files that are not taken, and a word of why."""
    dwarf = zipfile.ZipFile(DATA / "Cart.dSYM.zip").read("Cart.dSYM/Contents/Resources/DWARF/Cart")
    yield written(folder, "empty.txt", b""), "empty"
    yield written(folder, "prose.txt", b"Lorem ipsum -> dolor\nsit amet"), "not a mapping"
    yield written(folder, "noise", bytes(range(256)) * 50), "neither a mapping nor a debug file"
    yield written(folder, "half", dwarf[: len(dwarf) // 16]), ""
    yield written(folder, "stripped.so", b"\x7fELF\x02\x01\x01" + bytes(57)), ""
    yield written(folder, "cart.bcsymbolmap", b"BCSymbolMap Version: 2.0\n_main\n"), "bitcode"
    yield written(folder, "alone.js", b"var a=1"), "without its source map"
    maps = (
        *(b"{}", b"{", b'{"mappings":"!!!!","sources":["a"],"version":3}', b'{"mappings":5}'),
        *(b'{"mappings":"AAAA","sections":5}', b'{"sections":[{"map":5}]}'),
    )
    for number, text in enumerate(maps):
        yield written(folder, f"bad{number}.js.map", text), "not a source map"
    with zipfile.ZipFile(folder / "whole.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", MAPPING * 50)
    whole = (folder / "whole.zip").read_bytes()
    yield written(folder, "cut.zip", whole[:200]), "not a zip archive"
    yield written(folder, "spoilt.zip", whole[:60] + bytes(30) + whole[90:]), "not a zip archive"


def test_files_that_are_none_are_refused_with_a_reason(tmp_path: Path) -> None:
    for path, word in broken(tmp_path):
        (why,) = refused(path)
        assert word in why and why, (path, why)


def test_archives_are_bounded_whatever_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_BYTES", 100_000)
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mapping.txt", bytes(200_000))
    assert bomb.stat().st_size < 1_000
    assert "at most" in refused(bomb)[0]
    # One that says that it is small: its sizes are those of the directory at its end, and of the member's head.
    lying = tmp_path / "lying.zip"
    size = (200_000).to_bytes(4, "little")
    assert bomb.read_bytes().count(size) == 2
    lying.write_bytes(bomb.read_bytes().replace(size, (500).to_bytes(4, "little")))
    assert "not a zip archive" in refused(lying)[0]
    monkeypatch.setattr(reading, "MOST_FILES", 10)
    many = tmp_path / "many.zip"
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(reading.MOST_FILES + 1):
            archive.writestr(f"{number}", b"")
    assert "10 files and" in refused(many)[0]
    (tmp_path / "big.txt").write_bytes(bytes(200_000))
    assert "at most" in refused(tmp_path / "big.txt")[0]
    monkeypatch.setattr(reading, "MOST_MAPPING_BYTES", 100)
    assert "at most" in refused(DATA / "mapping.txt")[0]
    monkeypatch.setattr(reading, "MOST_SCRIPT_BYTES", 100)
    assert "at most" in refused(DATA / "assets/main.3f2a9c0d.js.map")[0]
    monkeypatch.setattr(reading, "MOST_KEPT_BYTES", 100)
    assert "at most" in refused(DATA / "Cart.dSYM.zip")[0]


def test_names_in_archives_are_labels_and_links_lead_nowhere(tmp_path: Path) -> None:
    source = DATA / "assets/main.3f2a9c0d.js.map"
    with zipfile.ZipFile(tmp_path / "paths.zip", "w") as archive:
        archive.writestr("../../../etc/main.js.map", source.read_bytes())
        archive.writestr("/abs/\n\x1b[31m/two.js.map", source.read_bytes())
    found = read(tmp_path / "paths.zip")
    assert sorted(each.name for each in found) == ["paths.zip/abs/ [31m/two.js", "paths.zip/etc/main.js"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["paths.zip"], "nothing is written"
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "linked.txt").symlink_to(DATA / "mapping.txt")
    (folder / "linked").symlink_to(DATA)
    assert list(reading.read_files([folder])) == []


def test_the_same_content_has_the_same_digest(tmp_path: Path) -> None:
    first, second = (read(DATA / "mapping.txt")[0] for _ in range(2))
    assert first.digest == second.digest
    changed = written(tmp_path, "mapping.txt", MAPPING + b"x.Y -> a.f:\n")
    assert read(changed)[0].digest != first.digest
    kept = b"".join(read(DATA / "assets")[0].parts)
    assert b"sourcesContent" not in kept and b"export class" not in kept, "sources are not kept"


def test_what_is_kept_in_memory_is_bounded() -> None:
    kept = Remembered(10_000)
    made = []

    def make(key: int) -> int:
        return kept.get(key, lambda: (made.append(key) or key, 1_000))  # type: ignore[func-returns-value]

    for key in range(50):
        assert make(key) == key
        make(0)
        assert kept.byte_count <= 10_000
    assert made.count(0) == 1, "what is used stays"
    assert make(1) == 1 and made.count(1) == 2, "what is not goes"
    kept.get("huge", lambda: ("huge", 1_000_000))
    kept.get("small", lambda: ("small", 1))
    assert kept.byte_count <= 10_000


def test_the_list_of_files_is_asked_for_now_and_then(files: InMemory) -> None:
    now = [0.0]
    shelf = Shelf(files, clock=lambda: now[0])
    before = files.lists
    for _ in range(20):
        symbolicated(NOW, of_stack(R8), shelf)
    assert files.lists == before + 1
    reads = files.reads
    now[0] = 6.0
    symbolicated(NOW, of_stack(R8), shelf)
    assert files.lists == before + 2 and files.reads == reads, "what was read is kept"


def test_a_file_that_cannot_be_read_is_as_if_it_were_not_there(caplog: pytest.LogCaptureFixture) -> None:
    there = InMemory()
    bad = reading._kept("native", CART_UUID, "Cart", [b"no cache at all"], 1, arch="arm64")
    there.put(APP, [bad])
    shelf = Shelf(there)
    for _ in range(3):
        assert missing(asked(measure(), shelf)) == [Need("native", CART_UUID, "Cart", "arm64", "2.0", "7")]
    assert len(caplog.records) == 1 and bad.digest in caplog.text
    with pytest.raises(Unreadable):
        SymbolImage(b"")


def test_without_the_library_all_is_as_it_came_and_says_what_to_install(
    files: InMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "symbolic", None)
    assert not library.is_there()
    shelf = Shelf(files)
    assert not shelf.is_usable
    told = symbolicated(NOW, of_stack(R8), shelf)
    assert told.attributes == of_stack(R8) and missing(told.asked)
    with pytest.raises(library.NoSymbolLibrary, match=r"session-pipeline\[symbols\]"):
        list(reading.read_files([DATA / "Cart.dSYM.zip"]))


HOSTILE: Sequence[str] = (
    "at " + "a" * 590, "at " + "(" * 590, "at " + "a." * 290 + "(", "at a (" + ".js" * 190, "@" * 590, " " * 600,
    "0 " + "0x0 " * 140, "#0 pc " + "0" * 590, "a@" + "a.js:1" * 90, "at " + "a.js?" * 110 + ":1:1", "- " * 300,
)  # fmt: skip


@pytest.mark.parametrize("line", HOSTILE, ids=[f"{n}" for n in range(len(HOSTILE))])
def test_no_line_takes_long_to_read(line: str) -> None:
    started = time.process_time()
    for number in range(20):
        place_of(f"{line}{number}")
    assert time.process_time() - started < 0.5


_TEXTS = st.lists(
    st.sampled_from(
        [*R8.split("\n"), *V8.split("\n"), "0   Cart 0x1 0x1 + 5", "#00 pc 1 /x/libcart.so (BuildId: ab)"]
    )
    | st.text(max_size=30),
    max_size=8,
).map("\n".join)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10) | st.just(f"{BASE:x}"),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["frames", "type", "symbol_address", "binary_address", "binary_name", "class_name", "method_name",
             "line_num", "crash", "threads", "crashed", "backtrace", "contents", "instruction_addr", "object_addr",
             "start_addr"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip


_ATTRIBUTES = st.dictionaries(
    st.sampled_from(READ), _TEXTS | _VALUES.map(lambda value: msgspec.json.encode(value).decode()), max_size=4
)


@settings(max_examples=150)
@given(_ATTRIBUTES)
def test_whatever_an_event_says_it_is_read_alike_with_no_files_and_breaks_nothing(
    attributes: dict[str, str],
) -> None:
    """As it comes and as it is stored; with files, too, and each time the same."""
    came = orjson.dumps(attributes)
    texts = {name: text for name, text in attributes.items() if text}
    assert texts_of(came) == texts
    told = symbolicated(NOW, texts)
    assert told.attributes == texts and not told.is_anew
    shelf = _SHELF
    with_files = symbolicated(NOW, texts, shelf)
    assert with_files == symbolicated(NOW, texts, shelf)
    assert [each.need for each in with_files.asked] == [each.need for each in told.asked]
    shown_stack(APP, with_files.attributes, with_files.raw)
    grouped(NOW, "crash", texts, shelf)


_IN_MEMORY = InMemory()
_IN_MEMORY.put(APP, read(DATA / "mapping.txt", DATA / "assets", DATA / "Cart.dSYM.zip"), "2.0")
_SHELF = Shelf(_IN_MEMORY)


def test_version_and_build_are_those_of_rows() -> None:
    assert (
        AppBuild.of(APP, {RESOURCE_FACTS["app_version"][0]: "2.0", RESOURCE_FACTS["app_build"][0]: "7"})
        == NOW
    )
    assert all(len(RESOURCE_FACTS[name]) == 1 for name in ("app_version", "app_build"))


def test_a_part_has_the_classes_of_its_checksum() -> None:
    parts = parts_of(MAPPING * 200)
    assert len(parts) > 2
    for number, part in enumerate(parts):
        for short in re.findall(rb"-> ([\w.]+):$", part, re.MULTILINE):
            assert crc32(short) % len(parts) == number
