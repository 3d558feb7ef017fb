"""Many ids with the same CRC-32."""

from __future__ import annotations

from zlib import crc32

MARK = 0x12345678
_DIGITS = 40


def forged(prefix: str) -> str:
    """An id that begins so and whose CRC-32 is MARK: a checksum is linear, so its digits follow from equations."""
    plain = crc32(f"{prefix}{'0' * _DIGITS}".encode())
    basis: dict[int, tuple[int, int]] = {}
    for place in range(_DIGITS):
        digits = "0" * place + "1" + "0" * (_DIGITS - place - 1)
        value, chosen = crc32(f"{prefix}{digits}".encode()) ^ plain, 1 << place
        while value and (high := value.bit_length()) in basis:
            value, chosen = value ^ basis[high][0], chosen ^ basis[high][1]
        if value:
            basis[value.bit_length()] = value, chosen
    wanted, chosen = MARK ^ plain, 0
    while wanted:
        value, places = basis[wanted.bit_length()]
        wanted, chosen = wanted ^ value, chosen ^ places
    return prefix + "".join("1" if chosen >> place & 1 else "0" for place in range(_DIGITS))


IDS = [forged(f"{number:04}-") for number in range(300)]
