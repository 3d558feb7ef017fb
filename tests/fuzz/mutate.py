"""Bad JSON on purpose: a document's tree is changed, then perhaps its bytes; the same seed gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec
import orjson

from tests.fuzz.vocabulary import BYTES, DEPTHS, NUMBERS, TEXTS, TOKENS

Raw = msgspec.Raw
encode = msgspec.json.encode


class JsonMutator:
    """Changes JSON documents. `keys` and `values` are words that the decoder under test knows."""

    def __init__(self, keys: Sequence[str], values: Sequence[Any], donors: Sequence[Any] = ()) -> None:
        """`donors` are trees whose parts are planted into others."""
        self._keys = keys
        self._values = values
        self._donors = donors
        # Weighted by repetition: what keeps most of a document sound reaches deepest.
        self._changes: tuple[Callable[[Random, Any], Any], ...] = (
            *(self._other_value,) * 6,
            *(self._other_text,) * 4,
            *(self._other_number,) * 4,
            *(self._other_keys,) * 6,
            *(self._other_length,) * 3,
            *(self._planted,) * 3,
            self._token,
            self._nested,
            self._doubled_key,
        )

    def mutate(self, data: bytes, random: Random, *, gentle: bool = False) -> bytes:
        """Other bytes, mostly still JSON; bytes that are not JSON are changed as bytes.

        `gentle` mostly leaves a value its type: for rows of fixed types, where any other is refused at once.
        """
        try:
            tree = orjson.loads(data)
        except orjson.JSONDecodeError:
            return self.bytes_changed(data, random)
        try:
            data = encode(self.tree_changed(tree, random, gentle=gentle))
        except RecursionError:  # a tree nested by earlier changes, too deep to be written again
            return self.bytes_changed(data, random)
        return self.bytes_changed(data, random) if random.random() < 0.08 else data

    def tree_changed(self, tree: Any, random: Random, *, gentle: bool = False) -> Any:
        """The tree after one to six changes; may hold `Raw` from then on, which need not be JSON."""
        for _ in range(random.choice((1, 1, 1, 2, 2, 3, 6))):
            tree = self._changed(tree, random, gentle and random.random() < 0.9)
        return tree

    @staticmethod
    def bytes_changed(data: bytes, random: Random) -> bytes:
        """Bytes put in, taken out, cut off, doubled or flipped."""
        changed = bytearray(data)
        for _ in range(random.choice((1, 1, 2, 4))):
            at = random.randrange(len(changed) + 1)
            match random.randrange(6):
                case 0 | 1:
                    changed[at:at] = random.choice(BYTES)
                case 2:
                    del changed[at : at + random.choice((1, 1, 2, 9))]
                case 3:
                    changed[at : at + 1] = random.randbytes(1)
                case 4:
                    changed[at:at] = changed[at : at + random.choice((1, 8, 100))]
                case _:
                    del changed[at if random.random() < 0.3 else len(changed) :]
        return bytes(changed)

    def _changed(self, tree: Any, random: Random, gentle: bool) -> Any:
        if not isinstance(tree, dict | list) or random.random() < 0.01:
            return random.choice(self._changes)(random, tree)
        parent, key = self._place(tree, random)
        if gentle:
            parent[key] = self._same_type(random, parent[key])
            return tree
        parent[key] = random.choice(self._changes)(random, parent[key])
        return tree

    def _same_type(self, random: Random, value: Any) -> Any:
        match value:
            case bool():
                return not value
            case int():
                return self._other_integer(random, value)
            case str():
                return random.choice((value, str(random.choice(self._values)), random.choice(TEXTS)))
            case bytes():
                return (
                    self.bytes_changed(value, random)
                    if random.random() < 0.5
                    else bytes(random.choice(BYTES))
                )
            case list() if value:
                value.append(value.pop(random.randrange(len(value))))
        return value

    @staticmethod
    def _other_integer(random: Random, value: int) -> int:
        steps = (1, -1, -value, 1_000, -1_000, 60_001, 30 * 60_001, -86_400_001, 43_200_001)
        return value + random.choice(steps) if random.random() < 0.9 else random.choice(NUMBERS)

    @staticmethod
    def _place(tree: Any, random: Random) -> tuple[Any, Any]:
        """A container and a key of it, found by random descent."""
        holder: Any = [tree]
        key: Any = 0
        while isinstance(node := holder[key], dict | list) and node and random.random() < 0.8:
            holder = node
            key = random.choice(list(node)) if isinstance(node, dict) else random.randrange(len(node))
        return (holder, key)

    def _other_value(self, random: Random, _: Any) -> Any:
        kind = random.randrange(8)
        if kind < 3 and self._values:
            return random.choice(self._values)
        plain: tuple[Any, ...] = (None, True, False, [], {}, 1.5, -2.5e300, 0.1)
        return (random.choice(NUMBERS), random.choice(TEXTS), random.choice(plain))[kind % 3]

    def _other_text(self, random: Random, value: Any) -> Any:
        if not isinstance(value, str) or random.random() < 0.4:
            return random.choice(TEXTS)
        at = random.randrange(len(value) + 1)
        if random.random() < 0.3:
            return value[:at] + value[at + 1 :]
        return value[:at] + random.choice(TEXTS) + value[at:]

    def _other_number(self, random: Random, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float) or random.random() < 0.3:
            return random.choice(NUMBERS)
        match random.randrange(5):
            case 0:
                return value + random.choice((-1, 1, 60_000, -60_001, 86_400_000))
            case 1:
                return -value
            case 2:
                return value * random.choice((1_000, 10**6, 2))
            case 3:
                return str(value)
            case _:
                return float(value)

    def _other_keys(self, random: Random, value: Any) -> Any:
        if not isinstance(value, dict):
            return {random.choice(self._keys): value}
        match random.randrange(4):
            case 0 if value:
                value.pop(random.choice(list(value)))
            case 1 if value:
                value[random.choice(self._keys)] = value.pop(random.choice(list(value)))
            case 2:
                value[random.choice(TEXTS)] = self._other_value(random, None)
            case _:
                value[random.choice(self._keys)] = self._other_value(random, None)
        return value

    def _other_length(self, random: Random, value: Any) -> Any:
        if not isinstance(value, list):
            return [value] * random.choice((1, 2, 3, 101))
        if not value:
            return [self._other_value(random, None)]
        match random.randrange(4):
            case 0:
                value.pop(random.randrange(len(value)))
            case 1:
                value.append(random.choice(value))
            case 2:
                random.shuffle(value)
            case _ if len(encode(value[0])) < 300 and random.random() < 0.05:
                return [value[0]] * random.choice((100, 101, 499, 500, 501))
            case _:
                value.insert(0, self._other_value(random, None))
        return value

    def _planted(self, random: Random, value: Any) -> Any:
        if not self._donors:
            return self._other_value(random, value)
        holder, key = self._place(random.choice(self._donors), random)
        return Raw(encode(holder[key]))

    @staticmethod
    def _token(random: Random, _: Any) -> Any:
        return Raw(random.choice(TOKENS))

    @staticmethod
    def _nested(random: Random, value: Any) -> Any:
        depth = random.choice(DEPTHS)
        inner = encode(value)
        open_, close = random.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'[{"type":', b"}]"), (b"[", b"")))
        return Raw(open_ * depth + inner + close * depth)

    def _doubled_key(self, random: Random, value: Any) -> Any:
        if not isinstance(value, dict) or not value:
            return Raw(b'{"a":1,"a":' + encode(value) + b"}")
        key = random.choice(list(value))
        other = random.choice((b"null", b'"x"', b"[]", b"{}", b"1", encode(value[key])))
        pair = encode(key) + b":" + other
        body = encode(value)[1:-1]
        return Raw(b"{" + (pair + b"," + body if random.random() < 0.5 else body + b"," + pair) + b"}")


class MsgpackMutator(JsonMutator):
    """Changes trees as the JSON one does; writes MessagePack, so that numbers, bytes and types are its own."""

    def mutate(self, data: bytes, random: Random, *, gentle: bool = True) -> bytes:
        try:
            tree = msgspec.msgpack.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self.bytes_changed(data, random)
        changed = self.tree_changed(tree, random, gentle=gentle)
        try:
            encoded = msgspec.msgpack.encode(changed)
        except (OverflowError, ValueError):  # a number beyond 64 bits: MessagePack has none
            encoded = data
        return self.bytes_changed(encoded, random) if random.random() < 0.15 else encoded


def grown(data: bytes, size: int, random: Random) -> bytes:
    """The document with one value in it replaced by a huge one, `size` bytes together or a little less."""
    mark = "\ue000"
    try:
        box = [orjson.loads(data)]
        unit = _marked(box, mark, random)
        frame = encode(box[0])
    except (orjson.JSONDecodeError, RecursionError):  # no JSON, or nested too deep to be written again
        return (data or b"[")[: size // 2] * (size // max(len(data), 1))
    return frame.replace(encode(mark), _huge(max(size - len(frame), 2), unit, random), 1)


def _marked(box: list[Any], mark: str, random: Random) -> bytes | None:
    """Put the mark in place of a value; returns what was there, or some of it, to be repeated."""
    tree = box[0]
    if isinstance(tree, dict) and isinstance(tree.get("events"), list) and random.random() < 0.4:
        unit = encode(random.choice(tree["events"])) if tree["events"] and random.random() < 0.7 else None
        tree["events"] = mark
        return unit
    holder, key = JsonMutator._place(box, random)
    if holder[key] is box:
        holder, key = box, 0
    unit = encode(holder[key]) if random.random() < 0.3 else None
    holder[key] = mark
    return unit


def _huge(size: int, unit: bytes | None, random: Random) -> bytes:
    """A JSON value of nearly `size` bytes."""
    if unit is not None and len(unit) < size:
        if unit.startswith(b'{"') and random.random() < 0.8:
            # As many as the decoders take at most, each as large as there is room for; or too many.
            count = random.choice((490, 1_490, 1_490, None))
            room = size // count - len(unit) - 40 if count else 0
            rest = b'"pad":"' + b"x" * max(room, 0) + b'",' + unit[1:].replace(b'"id":', b'"n":')
            return _filled(b"[", b"]", size, lambda i: b'{"id":"%d",' % i + rest)
        return _filled(b"[", b"]", size, lambda i: unit)
    small = random.choice(
        (b"{}", b"[]", b"0", b'""', b"null", b"1e300", b'"a"', b'{"a":{}}', b"[[0]]", b'{"id":"a"}')
    )
    piece = random.choice(
        (b"x", b"\\u0000", b'\\"', "é".encode(), b"\\n", "😀".encode(), b"\\ud83d\\ude00", b" ", b"/")
    )
    depth = random.choice((100, 200, 240))
    deep = b"[" * depth + b"]" * depth
    match random.randrange(11):
        case 9 | 10:
            wide = b'{"a":"%s"}' % (b"y" * max(size // random.choice((45_000, 20_000, 3_000)) - 10, 0))
            return _filled(b"[", b"]", size, lambda i: wide)
        case 0 | 1:
            return _filled(b"[", b"]", size, lambda i: small)
        case 2 | 3:
            return _filled(b"{", b"}", size, lambda i: b'"%d":' % i + small)
        case 4:
            return _filled(b"{", b"}", size, lambda i: b'"a":' + small)
        case 5:
            return b'"' + piece * ((size - 2) // len(piece)) + b'"'
        case 6:
            return random.choice((b"", b"0.", b"1e-", b"-")) + b"9" * (size - 3)
        case 7:
            return _filled(b"[", b"]", size, lambda i: deep) if size > 1_000 else b"[]"
        case _:
            return random.choice((b"[", b'{"a":'))[:size] * (size // 6) + b" " * (size // 6)


def _filled(open_: bytes, close: bytes, size: int, piece: Callable[[int], bytes]) -> bytes:
    pieces, used, index = [], len(open_) + len(close), 0
    while used + len(each := piece(index)) + 1 <= size:
        pieces.append(each)
        used += len(each) + 1
        index += 1
    return open_ + b",".join(pieces) + close
