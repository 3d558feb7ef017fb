"""What a static member is called, and what its requests say that aiokafka's do not."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest

from pipeline.kafka.errors import InstanceTaken, KafkaRefused
from pipeline.kafka.static_member import FENCED_INSTANCE_ID, is_fenced, member_name, with_name
from pipeline.streaming.consumer_thread import BatchConsumerThread

VERSIONS = {8: (2, 10), 12: (0, 4), 14: (0, 5)}
NAME = "pod-0.0123abcd"
HEARTBEAT = HeartbeatRequest("group", 3, "me")
COMMIT = OffsetCommitRequest("group", 3, "me", -1, [("source", [(0, 17, "a note")])])


def test_a_name_goes_by_what_is_read() -> None:
    """A broker gives a member that comes back under its name the assignment of before, with nothing that is new."""
    name = member_name("pod-0", {"a": 2, "b": 2})
    assert name.startswith("pod-0.") and member_name("pod-0", {"b": 2, "a": 2}) == name
    others = [
        member_name("pod-0", {"a": 3, "b": 2}),
        member_name("pod-0", {"a": 2, "b": 2, "c": 2}),
        member_name("pod-1", {"a": 2, "b": 2}),
    ]
    assert len({name, *others}) == 4
    assert len(member_name("p" * 200, {"a": 2})) <= 249, "Kafka allows no longer one"


def encoded(request: Any) -> bytes:
    sent: bytes = with_name(request, NAME).prepare(VERSIONS).encode()
    return sent


def texts(*given: str) -> bytes:
    return b"".join(len(text).to_bytes(2, "big") + text.encode() for text in given)


def test_heartbeats_and_commits_carry_the_name() -> None:
    generation, one = (3).to_bytes(4, "big"), (1).to_bytes(4, "big")
    assert encoded(HEARTBEAT) == texts("group") + generation + texts("me", NAME)
    place = (0).to_bytes(4, "big") + (17).to_bytes(8, "big") + b"\xff\xff\xff\xff" + texts("a note")
    assert encoded(COMMIT) == (
        texts("group") + generation + texts("me", NAME) + one + texts("source") + one + place
    )
    sync = SyncGroupRequest("group", 3, "me", NAME, [])
    assert with_name(sync, NAME) is sync, "aiokafka says it there itself"


def response(request: Any, *fields: Any) -> Any:
    return with_name(request, NAME).prepare(VERSIONS).RESPONSE_TYPE(*fields)


@pytest.mark.parametrize("code", [0, 25, FENCED_INSTANCE_ID])
def test_who_is_fenced(code: int) -> None:
    wanted = code == FENCED_INSTANCE_ID
    assert is_fenced(response(HEARTBEAT, 0, code)) == wanted
    assert is_fenced(response(COMMIT, 0, [("source", [(0, 0), (1, code)])])) == wanted


class Thread(BatchConsumerThread):
    """The thread without its consumer; its coordinator's answers are given."""

    def __init__(self, name: str = NAME) -> None:
        self.app = SimpleNamespace(
            member_name=name,
            instance_id="pod-0",
            conf=SimpleNamespace(id="group"),
            connection=SimpleNamespace(bootstrap="broker:9092"),
        )
        self._knows_names = False
        self.asked: list[Any] = []
        self.answers: list[Any] = []
        self.coordinator = SimpleNamespace(_send_req=self._answer, generation=3, member_id="me")
        self._watch_membership()

    def _ensure_consumer(self) -> Any:
        return SimpleNamespace(_coordinator=self.coordinator)

    async def _answer(self, request: Any) -> Any:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def send(self, request: Any, *answers: Any) -> None:
        self.answers += answers
        asyncio.run(self.coordinator._send_req(request))

    def named(self) -> None:
        with self._named():
            pass


SYNC = SyncGroupRequest("group", 3, "me", NAME, [])
SYNCED = SimpleNamespace(API_KEY=14, error_code=0)


def test_a_twin_is_told_and_stops() -> None:
    thread = Thread()
    thread.send(HEARTBEAT, response(HEARTBEAT, 0, 0))
    assert thread.confirmed_s > 0
    thread.named()
    before_s = thread.confirmed_s
    thread.send(HEARTBEAT, response(HEARTBEAT, 0, FENCED_INSTANCE_ID))
    assert thread.confirmed_s == before_s, "it is no member any more"
    with pytest.raises(
        InstanceTaken, match="another worker has joined group with PIPELINE_KAFKA_INSTANCE_ID=pod-0"
    ):
        thread.named()
    with pytest.raises(InstanceTaken), thread._named():
        raise KafkaError("what aiokafka makes of it")


def test_a_broker_is_asked_once_whether_it_tells_members_apart() -> None:
    thread = Thread()
    thread.send(SYNC, SYNCED, KafkaConnectionError())
    thread.send(SYNC, SYNCED, response(HEARTBEAT, 0, FENCED_INSTANCE_ID))
    thread.named()
    assert [request._fields[2:] for request in thread.asked[1::2]] == [("me-not", NAME)] * 2
    thread.send(SYNC, SYNCED)
    assert not thread.answers and len(thread.asked) == 5


@pytest.mark.parametrize(
    "answer", [response(HEARTBEAT, 0, 0), response(HEARTBEAT, 0, 25), NotImplementedError()]
)
def test_one_that_does_not_is_refused(answer: Any) -> None:
    thread = Thread()
    thread.send(SYNC, SYNCED, answer)
    with pytest.raises(KafkaRefused, match="does not know static membership"):
        thread.named()


def test_what_a_dynamic_member_sends_is_what_aiokafka_made() -> None:
    thread = Thread(name="")
    thread.send(HEARTBEAT, SimpleNamespace(API_KEY=12, error_code=0))
    thread.send(SYNC, SYNCED)
    assert thread.asked == [HEARTBEAT, SYNC]
    with pytest.raises(KafkaError), thread._named():
        raise KafkaError("its own")
