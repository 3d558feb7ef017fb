"""Access control lists of Apache Kafka, put there as `kafka-acls.sh` does."""

from __future__ import annotations

from collections.abc import Iterable

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest

from pipeline.roles.rights import Right

_RESOURCES = {"Topic": 2, "Group": 3, "Cluster": 4, "TransactionalId": 5}
_OPERATIONS = {
    "Read": 3, "Write": 4, "Create": 5, "Delete": 6, "Alter": 7, "Describe": 8, "DescribeConfigs": 10,
}  # fmt: skip
_LITERAL, _PREFIXED = 3, 4
_ALLOW = 3


async def allow(bootstrap: str, user: str, rights: Iterable[Right]) -> None:
    """Give a user rights. `bootstrap` is where one logs in who may."""
    await _change(bootstrap, CreateAclsRequest, user, rights)


async def take(bootstrap: str, user: str, rights: Iterable[Right]) -> None:
    """Take rights of a user back."""
    await _change(bootstrap, DeleteAclsRequest, user, rights)


async def _change(bootstrap: str, request: type, user: str, rights: Iterable[Right]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        for right in rights:
            pattern = _PREFIXED if right.is_prefix else _LITERAL
            for operation in right.operations:
                asked = request(
                    _RESOURCES[right.resource],
                    right.name,
                    pattern,
                    f"User:{user}",
                    "*",
                    _OPERATIONS[operation],
                    _ALLOW,
                )
                answer = await admin._client.send(admin._client.get_random_node(), asked)
                results = getattr(answer, "creation_responses", None) or answer.filter_responses
                assert all(result[0] == 0 for result in results), (right, answer)
    finally:
        await admin.close()
