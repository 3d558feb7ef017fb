"""The pipeline as its next version may be: it reads and writes a version of the state that this one does not know."""

from __future__ import annotations

from pipeline.cli import main
from pipeline.state.codec import state_codec
from pipeline.state.device_state import DeviceState

NEWER = state_codec.VERSION + 1

_decode, _outline, _encoder = state_codec.decode, state_codec.outline, state_codec.encoder


def _known(value: bytes) -> bytes:
    """The same state in the newest version of today."""
    return bytes((state_codec.VERSION,)) + value[1:] if value[:1] == bytes((NEWER,)) else value


def _encode(state: DeviceState) -> bytes:
    return bytes((NEWER,)) + state_codec.encode(state)[1:]


def upgrade() -> None:
    """Make this process the newer program."""
    state_codec.decode = lambda value: _decode(_known(value))
    state_codec.outline = lambda value: _outline(_known(value))
    state_codec.encoder = lambda version: _encode if version in {0, NEWER} else _encoder(version)


if __name__ == "__main__":
    upgrade()
    main()
