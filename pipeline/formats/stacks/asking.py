"""One event's questions to the files there are: each file is asked for once, and what is asked for is remembered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pipeline.formats.stacks.frames import StackFrame
from pipeline.formats.stacks.own_code import is_own
from pipeline.formats.stacks.places import JvmCall, NativeCall, ScriptCall
from pipeline.formats.stacks.symbols import (
    Call,
    Image,
    NameMapping,
    Need,
    NoSymbols,
    Script,
    SymbolKind,
    Symbols,
    short_text,
)

MOST_FILES = 32
"""That one event asks for; a stack has some images at most."""
VERSION, BUILD = "service.version", "app.build_id"
"""In the resource of an event."""
_NO_SOURCE = ("SourceFile", "Proguard", "Unknown Source", "")
_SHORTENED = 2
"""Characters that a class, or a package of one, has at most where it was renamed."""


class AppBuild(NamedTuple):
    """Whose event it is."""

    id: str
    version: str
    build: str

    @classmethod
    def of(cls, app_id: str, resource: Mapping[str, object]) -> AppBuild:
        """The app with the version and build that the resource of an event tells of."""
        version, build = (str(resource.get(name) or "") for name in (VERSION, BUILD))
        return cls(app_id, version, build)


class AskedFile(NamedTuple):
    """A file that an event needs."""

    need: Need
    is_wanted: bool
    """Whether something cannot be read without it. Else it would only tell more."""
    file: str
    """The digest of the file that was found; empty if there is none."""


class Asking:
    """Asks `symbols`, of the stack of one event. Its methods raise what that raises."""

    def __init__(self, app: AppBuild, symbols: Symbols | None) -> None:
        self.app = app
        self._symbols: Symbols = symbols or NoSymbols()
        self._wanted: dict[Need, bool] = {}
        self._mappings: dict[Need, tuple[str, NameMapping] | None] = {}
        self._images: dict[Need, tuple[str, Image] | None] = {}
        self._scripts: dict[Need, tuple[str, Script] | None] = {}
        self.mapping_id = ""
        """The UUID of the mapping, where the event has it."""
        self.script_ids: Mapping[str, str] = {}
        """The debug ids of scripts by their URLs, where the event has them."""

    @property
    def asked(self) -> list[AskedFile]:
        """In the order in which they were asked for."""
        found = {**self._mappings, **self._images, **self._scripts}
        return [
            AskedFile(need, wanted, file[0] if (file := found.get(need)) else "")
            for need, wanted in self._wanted.items()
        ]

    @property
    def has_found(self) -> bool:
        """Whether any file is there."""
        return any((*self._mappings.values(), *self._images.values(), *self._scripts.values()))

    def type_name(self, name: str) -> str:
        """What a class is called in the source, if its mapping is there; else as it is."""
        found = next(filter(None, self._mappings.values()), None)
        return (found[1].type_name(name) if found else "") or name

    def jvm(self, call: JvmCall, *, is_own_call: bool) -> list[Call]:
        """What a call stands for; none where nothing is known of it."""
        is_unreadable = _is_shortened(call)
        if not is_own_call and not is_unreadable:
            return []
        need = self._need("proguard", self.mapping_id, "", "")
        if not self._wants(need, is_wanted=is_unreadable):
            return []
        if need not in self._mappings:
            self._mappings[need] = self._symbols.mapping(self.app.id, need)
        found = self._mappings[need]
        return found[1].calls(call.owner, call.method, call.line) if found else []

    def script(self, call: ScriptCall, *, is_own_call: bool, id: str = "") -> list[Call]:
        """The same. What has no name in the source map keeps the one it came with."""
        url = short_text(call.url.partition("?")[0].partition("#")[0])
        need = self._need("sourcemap", id or self.script_ids.get(call.url, ""), url, "")
        if not is_own_call or not self._wants(need, is_wanted=True):
            return []
        if need not in self._scripts:
            self._scripts[need] = self._symbols.script(self.app.id, need)
        found = self._scripts[need]
        told = found[1].call(call.line, call.column) if found else None
        return [told._replace(function=told.function or call.function)] if told else []

    def native(self, call: NativeCall, *, is_own_call: bool, arch: str = "") -> list[Call]:
        """The same. A system's images are asked for only where they have a name of their own to be found by."""
        name = short_text(call.image.rpartition("/")[2])
        need = self._need("native", call.id, name, short_text(arch))
        if not is_own_call or not (call.id or name) or not self._wants(need, is_wanted=not call.has_name):
            return []
        if need not in self._images:
            self._images[need] = self._symbols.image(self.app.id, need)
        found = self._images[need]
        return found[1].calls(call.address, is_return=call.is_return) if found else []

    def _need(self, kind: SymbolKind, id: str, name: str, arch: str) -> Need:
        return Need(kind, id, name, arch, short_text(self.app.version), short_text(self.app.build))

    def _wants(self, need: Need, *, is_wanted: bool) -> bool:
        if need not in self._wanted and len(self._wanted) >= MOST_FILES:
            return False
        self._wanted[need] = self._wanted.get(need, False) or is_wanted
        return True


def is_own_of(app_id: str, frame: StackFrame | None) -> bool:
    """Whether a frame is the app's own code as far as it can be told before its names are."""
    return frame is not None and is_own(frame, app_id)


def missing(asked: Iterable[AskedFile]) -> list[Need]:
    """The files without which something cannot be read."""
    return [each.need for each in asked if each.is_wanted and not each.file]


def _is_shortened(call: JvmCall) -> bool:
    """Whether a call looks as R8 leaves it: no file of its own, and names of one or two letters."""
    if call.file not in _NO_SOURCE and not call.file.startswith("r8-map-id-"):
        return False
    if call.file.startswith("r8-map-id-"):
        return True
    parts = call.owner.partition("$")[0].split(".")
    return len(parts[-1]) <= _SHORTENED or len(parts[0]) <= _SHORTENED - 1 or len(call.method) == 1
