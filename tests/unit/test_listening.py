"""Where commands listen, and how quickly a small answer leaves."""

from __future__ import annotations

import asyncio
import socket

import pytest

from pipeline.commands.failure import CommandFailed
from pipeline.commands.listening import listening
from pipeline.embedded.child import LOOPBACK, free_port
from pipeline.embedded.gate import Gate


async def _sends_at_once(listener: socket.socket) -> bool:
    """Whether a connection that asyncio accepts there waits for no confirmation before it sends a small piece."""
    told: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def accepted(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own: socket.socket = writer.get_extra_info("socket")
        told.set_result(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async with await asyncio.start_server(accepted, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname()[:2])
        delay_is_off = await asyncio.wait_for(told, 5)
        writer.close()
    return bool(delay_is_off)


def test_the_end_of_an_answer_does_not_wait_for_its_beginning() -> None:
    """The head and the body of an answer are two pieces. With Nagle's algorithm the second left 40 ms later."""
    assert asyncio.run(_sends_at_once(listening(LOOPBACK, 0)))


def test_nor_does_it_behind_the_embedded_broker() -> None:
    gate = Gate(free_port(), free_port())
    gate.reserve()
    try:
        assert gate._listener is not None
        assert asyncio.run(_sends_at_once(gate._listener))
    finally:
        gate.close()


def test_what_cannot_be_listened_on_is_said_with_what_to_do() -> None:
    with (
        listening(LOOPBACK, 0) as taken,
        pytest.raises(CommandFailed, match="Choose another port with --port"),
    ):
        taken.listen()
        listening(LOOPBACK, taken.getsockname()[1])
    with pytest.raises(CommandFailed, match="Name an address of this machine with --host"):
        listening("no.such.host.invalid", 0)
