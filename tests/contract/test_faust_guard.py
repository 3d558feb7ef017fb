"""What the batch transport overrides and leans on in Faust, Mode and aiokafka must be what it was written against.

These are private or half-private. When an upgrade moves one of them a test here fails and names it: read the change,
see whether `batch_transport`, `consumer_thread`, `chunk`, `recovery`, `table_manager`, `faust_app` and
`record_batches` of the adapters still hold, run the integration tests, and only then print new fingerprints with
`python -m tests.contract.test_faust_guard`.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from packaging.requirements import Requirement

VERSIONS = {"faust-streaming": "0.15.", "aiokafka": "0.14."}

FINGERPRINTS: dict[str, str] = {
    "faust.app.base:App._on_partitions_revoked": "d5c895bbe57dc73a",
    "faust.app.base:App._on_partitions_assigned": "de932b7927db85b3",
    "faust.app.base:App._stop_consumer": "55854a5de12c3f52",
    "faust.app.base:App._stop_fetcher": "68494554c248efcc",
    "faust.app.base:App._new_consumer": "bff6ccd646b71ea9",
    "faust.app.base:App.on_started": "c03627f2dc44a1dd",
    "faust.app.base:App.on_rebalance_start": "5c1e23de30674082",
    "faust.types.settings.settings:Settings.getenv": "2277ed5c749ded4f",
    "faust.types.settings.base:SettingsRegistry._init_settings": "73b1705b4f9d5d6a",
    "faust.agents.agent:Agent._execute_actor": "c750b828d2bda93e",
    "faust.agents.agent:Agent._new_supervisor": "44efb391c5a487e0",
    "faust.streams:Stream.noack": "921a6f5c674d32d4",
    "faust.streams:Stream.events": "c62f4dd3a73fe7aa",
    "faust.types.tuples:Message.__init__": "afe1f75975597bc3",
    "faust.types.tuples:Message.ack": "4751b72c4ed84153",
    "faust.types.tuples:ConsumerMessage": "5edc45d571eb42a2",
    "faust.tables.manager:TableManager": "f6eed12883a36a91",
    "faust.transport.conductor:Conductor._subscriber": "2a79085834048049",
    "faust.transport.conductor:Conductor._compile_message_handler": "9fbc0538097aa4ec",
    "faust.transport.conductor:Conductor._build_handler": "5c071d1277988c57",
    "faust.transport.conductor:ConductorCompiler.build": "837cf521368c1ee4",
    "faust.transport.consumer:Fetcher": "c922e4ab78d9e296",
    "faust.transport.consumer:Consumer.__init__": "302410d59e6972d1",
    "faust.transport.consumer:Consumer.ack": "5fcf41cf45153475",
    "faust.transport.consumer:Consumer.commit": "a354437baaa08bf8",
    "faust.transport.consumer:Consumer.force_commit": "cc094614d22c70fb",
    "faust.transport.consumer:Consumer.wait_empty": "e4662fe24f094819",
    "faust.transport.consumer:Consumer.stop_flow": "cf7e875a2b0d40e8",
    "faust.transport.consumer:Consumer.resume_flow": "db59630f25b5819b",
    "faust.transport.consumer:Consumer.on_partitions_revoked": "d04b7ae72c6fc206",
    "faust.transport.consumer:Consumer.on_partitions_assigned": "29ce96596f05a18c",
    "faust.transport.consumer:Consumer.on_stop": "45b1d2210ce2b526",
    "faust.transport.consumer:Consumer._drain_messages": "44a2500309e83c63",
    "faust.transport.consumer:Consumer.verify_event_path": "aead7dc3d8dc43fa",
    "faust.transport.consumer:ConsumerThread.on_partitions_assigned": "e59e8dda43724bd4",
    "faust.transport.consumer:ThreadDelegateConsumer": "a1b934b198fae1c0",
    "faust.transport.drivers.aiokafka:ConsumerRebalanceListener": "f3d04f29dfb3f716",
    "faust.transport.drivers.aiokafka:Consumer": "959f899e8ebfdd56",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.on_start": "38b4e8bd1e10723a",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.on_thread_stop": "8dfc004e258b6c25",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._create_consumer": "a4dc6ba0681a298c",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._create_worker_consumer": "c2701bfc3e6f6cad",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._ensure_consumer": "ff4a4c693b7ec63f",
    "faust.transport.drivers.aiokafka:Producer._ensure_producer": "5592a4bbdf251325",
    "faust.transport.drivers.aiokafka:Producer._settings_default": "9c39987fb719e984",
    "faust.transport.drivers.aiokafka:Producer._new_producer": "e72355c3430ed02f",
    "faust/_cython/streams.pyx": "0041622f4a251188",
    "faust/transport/_cython/conductor.pyx": "dde1f974267881cf",
    "mode.services:Service.crash": "14980000465df0af",
    "mode.services:Service.wait_first": "feade6a31f8a6789",
    "mode.services:Service.add_future": "515996de67f8a056",
    "mode.supervisors:CrashingSupervisor": "37e805f0af2149ce",
    "mode.threads:ServiceThread": "327e312386fa686b",
    "mode.utils.queues:FlowControlEvent": "1da8f905ab655e39",
    "mode.utils.queues:ThrowableQueue": "44872deb65478e1f",
    "aiokafka.consumer.consumer:AIOKafkaConsumer.getmany": "bc6d248e42a4e9d9",
    "aiokafka.consumer.fetcher:FetchResult": "d7db13f06de8248c",
    "aiokafka.consumer.fetcher:Fetcher.fetched_records": "be4348896b9b66af",
    "aiokafka.consumer.fetcher:Fetcher.seek_to": "f0ba6aba6c22ef83",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._send_req": "fa4b12e914ce9fcf",
    "aiokafka.consumer.group_coordinator:GroupCoordinator.check_errors": "ba6ca51ad34838d9",
    "aiokafka.consumer.group_coordinator:GroupCoordinator.request_rejoin": "f70a261c91c38cb5",
    "aiokafka.consumer.group_coordinator:GroupCoordinator.ensure_active_group": "33c84c1a93012e81",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._on_join_prepare": "4d9524afc0ee2c2f",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._on_join_complete": "0b0b3d204b408f3c",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._heartbeat_routine": "61d01028952239d0",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._do_heartbeat": "dc1d6632aaa68e96",
    "aiokafka.consumer.group_coordinator:CoordinatorGroupRebalance._send_sync_group_request": "7429ca078ddf9bb7",
    "aiokafka.producer.message_accumulator:BatchBuilder": "8050802ca7514186",
    "aiokafka.producer.message_accumulator:MessageBatch": "36a7b1dac89d2910",
    "aiokafka.producer.message_accumulator:MessageAccumulator.__init__": "eb57f3c1d5c7657b",
    "aiokafka.record.default_records:_DefaultRecordBatchBuilderPy": "6f28721e91e237c2",
    "aiokafka.producer.message_accumulator:MessageAccumulator.add_batch": "5ed1c5b1367ad854",
    "aiokafka.producer.producer:AIOKafkaProducer.send_batch": "bf42b0f0c5c0646d",
    "aiokafka.conn:create_conn": "673276cbddb4dc7c",
    "aiokafka.conn:OAuthAuthenticator": "2f9c85babb3f131e",
    "aiokafka.conn:AIOKafkaConnection": "ac26ab36fe7cd5b4",
    "aiokafka.conn:AIOKafkaProtocol": "0f94e2d601522f90",
    "aiokafka.conn:BaseSaslAuthenticator": "bc99fb89b112fd16",
    "aiokafka.abc:AbstractTokenProvider": "07c1fc116c8d6401",
    "aiokafka.client:AIOKafkaClient.coordinator_lookup": "19cc69fb75f8d667",
    "aiokafka.client:AIOKafkaClient.fetch_all_metadata": "8eeea5926b0ddbe2",
    "aiokafka.client:AIOKafkaClient.get_random_node": "0e2daf38b78e99a7",
    "aiokafka.client:AIOKafkaClient.send": "246b277687d7b687",
    "aiokafka.client:AIOKafkaClient.set_topics": "9f9b55d6d8997834",
    "aiokafka.client:ConnectionGroup": "2da88f55756f56ab",
    "aiokafka.client:CoordinationType": "6bd188876f559d16",
    "aiokafka.admin.client:AIOKafkaAdminClient.__init__": "2598ace9015c12b0",
    "aiokafka.consumer.consumer:AIOKafkaConsumer.__init__": "01506f316191f7c9",
    "aiokafka.consumer.consumer:AIOKafkaConsumer.start": "2f1ba70443327538",
    "aiokafka.record.memory_records:_MemoryRecordsPy": "795a0314fbca30af",
    "aiokafka.consumer.fetcher:Fetcher._proc_fetch_request": "59bf948fff47eed5",
    "aiokafka.consumer.fetcher:PartitionRecords": "94aa0da0dbec8d1b",
    "aiokafka.consumer.group_coordinator:GroupCoordinator.__init__": "9e729f077efc4f3a",
    "aiokafka.consumer.group_coordinator:GroupCoordinator.fetch_committed_offsets": "6c049c7379165952",
    "aiokafka.partitioner:DefaultPartitioner": "37af0b3aa6871f16",
    "aiokafka.producer.message_accumulator:MessageAccumulator.fail_all": "f1e12e8100bfcb8c",
    "aiokafka.producer.producer:AIOKafkaProducer.__init__": "fd6f2966fb3dc883",
    "aiokafka.producer.producer:AIOKafkaProducer.stop": "43ef97147111893b",
    "aiokafka.producer.sender:Sender.start": "ef0a0cbbf1f69e7d",
    "aiokafka.producer.sender:Sender.sender_task": "2aa81bcdcedb2d20",
    "aiokafka.producer.sender:InitPIDHandler": "4f466dcfc4b1f233",
    "aiokafka.protocol.abstract:AbstractType": "987d9751c32eb5f4",
    "aiokafka.protocol.api:Request": "1dc66f0574be1673",
    "aiokafka.protocol.api:RequestStruct": "0c94b7d190186c2a",
    "aiokafka.protocol.api:Response": "38b92a1dd3b1b270",
    "aiokafka.protocol.group:HeartbeatRequest": "61fd1d60122d11e4",
    "aiokafka.protocol.group:SyncGroupRequest": "5f47b11912923392",
    "aiokafka.protocol.transaction:InitProducerIdRequest": "d84fcc5a50e8a9fd",
    "aiokafka.protocol.types:Boolean": "f6f2c71efbd5b166",
    "aiokafka.protocol.types:CompactArray": "3051bc618ade780c",
    "aiokafka.protocol.types:CompactString": "8474e6b495fa8c1c",
    "aiokafka.protocol.types:Int16": "b20f58cbd42b3c32",
    "aiokafka.protocol.types:Int32": "6e0b6de0f43d31d6",
    "aiokafka.protocol.types:Schema": "cb254b3dabc4c1c5",
    "aiokafka.protocol.types:TaggedFields": "8dc7ecdf81af42ce",
    "aiokafka.client:AIOKafkaClient.force_metadata_update": "cb7befef21c8f3f9",
    "aiokafka.codec:zstd_encode": "3c7647f3ccfe7fb8",
    "aiokafka.protocol.admin:DescribeGroupsResponse_v3": "57436a7e5bce0065",
    "aiokafka.protocol.coordination:FindCoordinatorRequest": "36aba76373f54c2c",
    "aiokafka.protocol.types:Array": "5fe7ffa8941c3664",
    "aiokafka.protocol.types:String": "495592a1d794ff95",
    "faust.transport.drivers.aiokafka:Transport._create_topic": "5e1966c11a52b515",
    "aiokafka.admin.config_resource:ConfigResource": "c7ba1fce88f41b93",
    "aiokafka.admin.config_resource:ConfigResourceType": "d229c28746e816d0",
    "aiokafka.producer.sender:Sender.close": "f60b3d023d2526f4",
    "faust.transport.drivers.aiokafka:Transport": "966a67907f33524d",
    "aiokafka.consumer.group_coordinator:CoordinatorGroupRebalance.perform_group_join": "ff2c2109b2e9868d",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._do_commit_offsets": "c3a3ea5613f39cac",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._maybe_leave_group": "016cd88a16e6c4b5",
    "aiokafka.protocol.commit:OffsetCommitRequest": "07d8cb363446f10a",
    "aiokafka.protocol.types:Int64": "0dfa84e7c086e95a",
}


MODULES = {"fetcher"}
"""Modules whose members are guarded one by one."""
COMPILED = {"MemoryRecords", "DefaultRecordBatchBuilder"}
"""What has no source here: the twins in Python are guarded, and tests/unit/test_packed_records.py and
test_compiled_batches.py hold what we do with them to what aiokafka does."""


def find(path: str) -> Any:
    """The object at `module:Class.attribute`."""
    module, _, names = path.partition(":")
    found: Any = importlib.import_module(module)
    for name in names.split("."):
        found = inspect.getattr_static(found, name)
        if getattr(found, "__module__", "").startswith("pipeline.") and inspect.isclass(found):
            found = found.__base__  # the product was imported, and has put its own in the place of theirs
    return found


@cache
def source(path: str) -> str:
    if path.endswith(".pyx"):
        root = Path(importlib.import_module("faust").__file__ or "").parents[1]
        return (root / path).read_text()
    found = find(path)
    if isinstance(found, property):
        found = found.fget
    return inspect.getsource(inspect.unwrap(getattr(found, "fun", found)))


def fingerprint(path: str) -> str:
    return hashlib.sha256(source(path).encode()).hexdigest()[:16]


@pytest.mark.parametrize("path", FINGERPRINTS)
def test_what_we_override_or_lean_on_has_not_moved(path: str) -> None:
    try:
        found = fingerprint(path)
    except (AttributeError, ImportError, OSError) as error:
        pytest.fail(f"{path} is gone: {error!r}")
    assert found == FINGERPRINTS[path], f"{path} has changed; see the head of this file for what to do"


@pytest.mark.parametrize("package", VERSIONS)
def test_the_installed_version_is_the_tested_one(package: str) -> None:
    assert version(package).startswith(VERSIONS[package])


def test_faust_is_pinned_to_the_tested_minor_version() -> None:
    pyproject = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    pins = [
        line.split('"')[1] for line in pyproject.splitlines() if line.strip().startswith('"faust-streaming')
    ]
    assert len(pins) == 1
    pin = Requirement(pins[0]).specifier
    assert pin.contains("0.15.3")
    assert not pin.contains("0.16.0")
    assert not pin.contains("0.15.2")


ADAPTERS = ("kafka", "streaming")
"""The folders that may import what is guarded (test_layers.py)."""
PUBLIC = {"aiokafka", "aiokafka.errors", "aiokafka.structs", "aiokafka.admin", "faust", "faust.types", "mode"}
"""What else there is of these packages may move with any release."""
INNER = {"client", "_client", "coordinator", "_coordinator"}
"""Objects that the public classes of aiokafka keep inside, by the names they go by in our code."""


def adapters() -> Iterator[Path]:
    for folder in ADAPTERS:
        yield from sorted((Path(__file__).parents[2] / "pipeline" / folder).glob("*.py"))


def overrides() -> Iterator[tuple[type, str, type]]:
    """Our classes' own methods that a class of theirs has too."""
    for path in adapters():
        module = importlib.import_module(f"pipeline.{path.parent.name}.{path.stem}")
        for ours in vars(module).values():
            if not inspect.isclass(ours) or ours.__module__ != module.__name__:
                continue
            for name in vars(ours):
                for theirs in ours.__mro__[1:]:
                    package = theirs.__module__.partition(".")[0]
                    if (
                        name in vars(theirs)
                        and not name.startswith("__")
                        # The hooks of Mode's services are there to be overridden.
                        and (package in {"aiokafka", "faust"} or (package == "mode" and name.startswith("_")))
                        and ".types." not in theirs.__module__
                    ):
                        yield ours, name, theirs


def test_every_override_is_guarded_and_takes_the_same_arguments() -> None:
    guarded = {path.rpartition(":")[2] for path in FINGERPRINTS}
    found = list(overrides())
    assert len(found) > 10
    for ours, name, theirs in found:
        mine, original = vars(ours)[name], vars(theirs)[name]
        if not inspect.isfunction(mine):
            continue
        assert guarded & {theirs.__name__, f"{theirs.__name__}.{name}"}, (
            f"{ours.__name__}.{name} overrides what no test guards"
        )
        assert list(inspect.signature(mine).parameters) == list(inspect.signature(original).parameters), name


def touched(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of what a file uses of the insides of Faust, Mode and aiokafka."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner_modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in PUBLIC:
            for alias in node.names:
                if node.module not in PUBLIC:
                    yield node.lineno, alias.name
                    inner_modules.add(alias.name)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        of = ast.unparse(node.value).rpartition(".")[2]
        is_private = node.attr.startswith("_") and not node.attr.startswith("__")
        is_inner = of in inner_modules or (of in INNER and not hasattr(AIOKafkaAdminClient, node.attr))
        if is_inner or (is_private and node.attr not in own_names()):
            yield node.lineno, node.attr


@cache
def own_names() -> frozenset[str]:
    """Private names that our own classes define, but for those that theirs have as well."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in adapters())
    ours = set(re.findall(r"(?:\bdef |\bself\.)(_[a-z]\w*)(?=\(|: | = )", text))
    return frozenset(
        ours
        - {"_client", "_coordinator", "_send_req", "_consumer_record", "_partition_records"}
        - {"_build", "_set_producer_state"}
    )


def is_guarded(name: str) -> bool:
    """Whether what defines a name is among what has a fingerprint."""
    defined = re.compile(
        rf"\b(?:def|class) {name}\b|\bself\.{name}(?:: [^=\n]+)? = |^\s*{name}\b.* = ", re.MULTILINE
    )
    if any(f":{name}." in path for path in FINGERPRINTS):
        return True  # a class of which we lean on some members only
    return any(defined.search(text) for text in map(source, FINGERPRINTS))


def test_all_that_is_used_of_their_insides_is_guarded() -> None:
    found = [(path, line, name) for path in adapters() for line, name in touched(path)]
    names = {name for _, _, name in found}
    assert {
        "_consumer_record",
        "_set_producer_state",
        "coordinator_lookup",
        "InitProducerIdRequest",
    } <= names | {name for _, name, _ in overrides()}
    loose = [
        f"{path.name}:{line} {name}"
        for path, line, name in found
        if name not in MODULES | COMPILED and not is_guarded(name)
    ]
    assert not loose, "no fingerprint covers: " + ", ".join(sorted(set(loose)))


def test_recovery_answers_to_all_that_faust_asks_of_its_own() -> None:
    from faust.tables.manager import TableManager  # noqa: PLC0415 - not needed to print

    from pipeline.streaming.table_manager import Recovery  # noqa: PLC0415 - not needed to print

    text = inspect.getsource(TableManager)
    asked = set(re.findall(r"self\.recovery\.(\w+)", text))
    assert asked == {"start", "started", "completed", "on_partitions_revoked", "on_rebalance"}
    instance = set(inspect.getsource(Recovery.__init__).split())
    assert all(hasattr(Recovery, name) or f"self.{name}" in instance for name in asked)


def test_dependencies_of_faust_are_as_read() -> None:
    assert any(Requirement(each).name == "mode-streaming" for each in requires("faust-streaming") or [])


if __name__ == "__main__":
    for each in FINGERPRINTS:
        sys.stdout.write(f'    "{each}": "{fingerprint(each)}",\n')
