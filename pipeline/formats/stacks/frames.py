"""The frames in the text of a stack trace: JVM, ART, Apple, native Android, Dart, V8, Firefox and Safari, Python."""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_LINES = 400
"""That are read of a text; what decides stands far above."""
MAX_LINE_CHARS = 600


class StackFrame(NamedTuple):
    """One call. What a trace does not say is empty."""

    function: str
    """With its class, where there is one."""
    file: str
    """Or the URL, or the path of a package."""
    image: str = ""
    """The library or binary."""
    is_own: bool | None = None
    """Whether it is the app's own code, where the SDK says so."""
    line: int = 0
    """Where symbols told it; nothing else asks for it."""


class Section(NamedTuple):
    """The frames of one exception of a chain, or of one thread; the innermost call comes first."""

    type: str
    message: str
    frames: tuple[StackFrame, ...]


_THREAD = re.compile(r'"([^"]*)" ')
CAUSE = re.compile(r"\s*(?:Caused by|\[cause\]): (.*)")
_SUPPRESSED = re.compile(r"\s+Suppressed: ")
_PYTHON = re.compile(r'\s+File "([^"]*)", line \d+(?:, in (.*))?')
_NATIVE = re.compile(r"\s*(?:native: )?#\d+\s+(?:pc|abs)\s+[0-9a-fA-Fx]+\s*(.*)")
# Two parts side by side must not share out the same blanks between them: a line of blanks would take the square of it.
_DART = re.compile(r"#\d+\s(.+) \(([^()]*)\)")
_APPLE = re.compile(r"\d+\s+(\S.*?)(?<=\S)\s+0x[0-9a-fA-F]+\s+(.*)")
_APPLE_WITHOUT_ADDRESS = re.compile(r"\d+\s+(\S+)\s+(\S.*)\s\+\s\d+")
_WITH_URL = re.compile(r"\s*+([^@]*+)@(\S+:\d+|\[native code\])")
_CALL = re.compile(r"(.*\S) ?\(([^()]*)\)")
_ADDRESS = re.compile(r"(?:(.*\S) )?(?:0x)?[0-9a-fA-F]{6,16}")
_OFFSET = re.compile(r"\s?\+\s?(?:0x)?[0-9a-fA-F]+$")
_HEAD = re.compile(r"([A-Za-z_$][\w.$]*)(?:: (.*))?")
_FILE_LIKE = re.compile(r"\S*[.:/]\S*")


def read_stack(text: str) -> list[Section]:
    """The chain of exceptions in a text, the outermost first; of a dump of all threads the main one alone.

    No section without a frame, but for the first. Never raises; no more than MAX_LINES lines are read.
    """
    sections: list[tuple[str, str, list[StackFrame]]] = [("", "", [])]
    threads: dict[str, int] = {}
    is_python = is_passed_over = False
    for number, whole_line in enumerate(text.split("\n", MAX_LINES)[:MAX_LINES]):
        line = whole_line[:MAX_LINE_CHARS].rstrip()
        found = read_frame(line)
        if found is not None:
            if not is_passed_over:
                sections[-1][2].append(found)
            is_python = is_python or _PYTHON.match(line) is not None
        elif cause := CAUSE.match(line):
            sections.append((*read_head(cause[1]), []))
            is_passed_over = False
        elif _SUPPRESSED.match(line):
            is_passed_over = True
        elif thread := _THREAD.match(line):
            threads.setdefault(thread[1], len(sections))
            sections.append(("", "", []))
        elif number == 0:
            sections[0] = (*read_head(line), [])
    if threads:
        sections = [sections[0], sections[threads.get("main", 1)]]
    made = [
        Section(type, message, tuple(frames[::-1] if is_python else frames))
        for type, message, frames in sections
    ]
    return [made[0], *(each for each in made[1:] if each.frames)]


def read_frame(line: str) -> StackFrame | None:
    """The call that a line of a stack trace is; None where it is another line."""
    call = line.lstrip()
    if call.startswith("at ") and len(call) > 3:
        return _after_at(call[3:])
    if line[:1] == "#" or line.lstrip().startswith(("#", "native: #")):
        return _numbered(line)
    if found := _PYTHON.match(line):
        return StackFrame(found[2] or "", found[1])
    if line[:1].isdigit():
        if found := _APPLE.match(line):
            return StackFrame(_symbol(found[2]), "", "" if found[1] == "???" else found[1])
        if found := _APPLE_WITHOUT_ADDRESS.match(line):
            return StackFrame(_symbol(found[2]), "", found[1])
        return None
    if found := _WITH_URL.match(line):
        return StackFrame(found[1].strip(), _without_place(found[2]))
    return _call_alone(line)


def _after_at(call: str) -> StackFrame:
    """What comes after `at`: of the JVM, of V8, or what an address stands for."""
    if call.endswith(")"):
        code, _, place = call[:-1].rpartition("(")
        if code and "(" not in code and ")" not in place:
            return StackFrame(code.rstrip(), _without_place(place.removeprefix("address at ")))
    if address := _ADDRESS.fullmatch(call):
        return StackFrame("", "", "" if address[1] in (None, "???") else address[1])
    if found := _CALL.fullmatch(call):
        place = _without_place(found[2].removeprefix("address at "))
        return StackFrame(found[1], place)
    code, bracket, place = call.partition(" (")
    if bracket:
        return StackFrame(code, _without_place(place.removeprefix("eval at ").rpartition("(")[2].rstrip(")")))
    code, _, place = call.partition(" in ")
    if place.rpartition(":line ")[1]:
        return StackFrame(code, place.rpartition(":line ")[0])
    bare = _without_place(call.removeprefix("async "))
    return (
        StackFrame("", bare)
        if bare != call or "/" in call
        else StackFrame("" if call == "unknown" else call, "")
    )


def _numbered(line: str) -> StackFrame | None:
    """Of native Android code, or of Dart."""
    if found := _NATIVE.match(line):
        rest = re.sub(r" \((?:BuildId|offset)[^)]*\)", "", found[1])
        image, bracket, function = rest.partition(" (")
        if not bracket:
            # Dart's own dump of addresses: `virt 0... _kDartIsolateSnapshotInstructions+0x...`
            return StackFrame("", "", "" if image.startswith("virt ") else image.strip())
        return StackFrame(_symbol(function.rstrip(")")), "", image.strip())
    if found := _DART.match(line):
        return StackFrame(found[1].strip(), _without_place(found[2]))
    return None


def _call_alone(line: str) -> StackFrame | None:
    """`function (file:1:2)`, as Sentry's and Faro's frames are written down; `?` is a function of no name."""
    if line == "?":
        return StackFrame("", "")
    found = _CALL.fullmatch(line)
    if (
        found is None
        or " (" not in line
        or ": " in found[1]
        or (found[2] and not _FILE_LIKE.fullmatch(found[2]))
    ):
        return None
    function = "" if found[1] == "?" or _ADDRESS.fullmatch(found[1]) else found[1]
    place = _without_place(found[2])
    # Where an address was all that there was, the image stands in place of the file.
    return StackFrame(function, place) if function or not place.startswith("/") else StackFrame("", "", place)


def _symbol(text: str) -> str:
    """A symbol without its offset and the file behind it; nothing where it is an address, too."""
    text = re.sub(r" \([^()]*:\d+\)$", "", text.strip())
    name = _OFFSET.sub("", text)
    return "" if re.fullmatch(r"0x[0-9a-fA-F]+|\?+|<redacted>", name) else name


def _without_place(place: str) -> str:
    """A file or URL without the line and the column behind it."""
    for _ in range(2):
        before, colon, number = place.rpartition(":")
        if not colon or not number.isdecimal():
            break
        place = before
    return place


def read_head(line: str) -> tuple[str, str]:
    """Type and message of a head line, as `java.io.IOException: no route`."""
    found = _HEAD.fullmatch(line.strip())
    return (found[1], found[2] or "") if found else ("", "")


def written_place(file: object, line: object, column: object) -> str:
    """`file:line:column`, without what is None: in brackets where frames of Sentry and Faro are told."""
    if line is None and column is None:
        return "" if file is None else str(file)
    return ":".join([str(part) for part in (file, line, column) if part is not None])
