"""Names of code and words of messages without what differs from one build, device or user to the next."""

from __future__ import annotations

import re
from functools import lru_cache

_NUMBERED = re.compile(
    r"(?<=\$)\d+|(?<=ExternalSyntheticLambda)\d+|(?<=lambda-)\d+|(?<=Outline)\d+|(?<= #)\d+"
)
_SCRIPT_WORDS = re.compile(r"^(?:async )?(?:new )?| \[as [^\]]*\]$")
_LANGUAGE_WORDS = re.compile(r"\b(?:partial apply for|specialized|protocol witness for|@objc|merged) ")
_JVM_MODULE = re.compile(r"^[\w.\-@]*//?(?=[\w$]+\.)")
_NO_FILES = frozenset(
    ("SourceFile", "Unknown Source", "Native Method", "Native method", "Unknown", "<unknown>", "Proguard")
)
_BUILD_OF_R8 = re.compile(r"^r8-map-id-")
_PARTS = re.compile(r"(?:([.\-~])|(?<![0-9a-zA-Z_]))([0-9a-zA-Z_]++)(?=\.)")
"""Parts of a file's name with another behind them, and what separates each from the one before. No part is looked
through twice: names come from devices, and may be as long as a body."""
_HEX = re.compile(r"[0-9a-f]{8,}")
_VARYING = re.compile(
    r"\b0x[0-9a-fA-F]+\b|\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b|\b[0-9a-fA-F]{24,}\b"
    r"|[\w.+\-]++@[\w\-]+\.[\w.\-]+|\d+"
)
_DEBUG_IMAGE = ".debug.dylib"

MAX_MESSAGE_CHARS = 300
KEPT = 4_096
"""Answers that are remembered: the same calls come again and again. A name has some hundred characters at most."""


@lru_cache(KEPT)
def function_name(function: str) -> str:
    """A function as it is called in every build: counters of lambdas, closures and outlined code are taken out."""
    name = _SCRIPT_WORDS.sub("", _LANGUAGE_WORDS.sub("", function))
    return _NUMBERED.sub("", _JVM_MODULE.sub("", name)).strip()


@lru_cache(KEPT)
def file_name(file: str) -> str:
    """A file without its folder and the hash of its content; a Dart package's with its path. Empty if it is none."""
    if file.startswith(("package:", "dart:")):
        return file
    path = file.partition("?")[0].partition("#")[0].replace("\\", "/")
    name = path.rpartition("/")[2]
    if name in _NO_FILES or _BUILD_OF_R8.match(name):
        return ""
    return _PARTS.sub(_without_hash, name)


def _without_hash(part: re.Match[str]) -> str:
    """Nothing of what a bundler made of the content: of at least six characters with a digit among them, or of eight
    hexadecimal ones. It may stand behind `_`, which also joins words."""
    separator, text = part[1] or "", part[2]
    kept, mark, rest = ("", separator, text) if separator else text.partition("_")
    if mark and len(rest) >= 6 and any(each.isdigit() for each in rest):
        return kept
    return "" if separator in (".", "-") and _HEX.fullmatch(text) else part[0]


def image_name(image: str) -> str:
    """A library or binary without its folder, alike in what Xcode builds to debug and to release."""
    return image.rpartition("/")[2].removesuffix(_DEBUG_IMAGE)


def words_of(message: str) -> str:
    """The first line of a message without numbers, ids, addresses and mail addresses."""
    first = message.strip().partition("\n")[0]
    return _VARYING.sub("#", first[: 4 * MAX_MESSAGE_CHARS])[:MAX_MESSAGE_CHARS]


def short(name: str) -> str:
    """The last part of a dotted name of at least three parts, as of a class in its package; others as they are."""
    parts = name.split(".")
    if len(parts) > 2 and all(re.fullmatch(r"[A-Za-z_$][\w$]*", part) for part in parts):
        return parts[-1]
    return name


def short_call(function: str) -> str:
    """The same of a function: class and method without the package."""
    parts = function.split(".")
    if len(parts) > 3 and all(re.fullmatch(r"[A-Za-z_$<][\w$<>\-]*", part) for part in parts):
        return ".".join(parts[-2:])
    return function
