"""Quiet: faults end, everything that was sent is worked off, and silence has the last word."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline import topics
from tests.simulation.process import SessionizerProcess
from tests.simulation.world import Group, World

_MAX_STEPS = 4_000


class DoesNotRest(AssertionError):
    """Without faults and input there is still something to do after very long."""


class Quiet:
    """Brings a world to rest. Raises DoesNotRest, and what a worker dies of."""

    def __init__(self, world: World) -> None:
        self.world = world

    def run(self) -> None:
        """No more faults, then drain, then let every session fall silent."""
        self._calm()
        self._settle()

    def rest(self) -> None:
        """No more faults, and everything that was sent so far is worked off."""
        self._calm()
        self.drain()

    def _calm(self) -> None:
        """No more faults: everybody is back, ClickHouse answers, what was late has landed."""
        self.world.note("calm")
        self.world.site.server.down = self.world.site.server.flaky = False
        self.world.thaw()
        for process in list(self.world.outside):
            self.world.rejoin(process)
        for role, group in self.world.groups.items():
            if not group.members:
                self.world.spawn(role)
        self.world.run_all()

    def _settle(self) -> None:
        idle_ms = max(
            p.idle_timeout_ms
            for policies in self.world.plan.versions
            for p in (policies.default, *policies.by_app.values())
        )
        for _ in range(50):
            self.drain()
            before = [log.end for log in self.world.site.broker.logs(topics.STATE)]
            self.world.site.now_ms += idle_ms + 1
            for process in self.world.groups["sessionizer"].members:
                assert isinstance(process, SessionizerProcess)
                process.tick(0)
            self.drain()
            if before == [log.end for log in self.world.site.broker.logs(topics.STATE)]:
                return
        raise DoesNotRest("silence has something new to say again and again")

    def drain(self, *roles: str) -> None:
        """Everything that was sent so far to these roles, all without any, is worked off."""
        groups = [group for role, group in self.world.groups.items() if role in roles or not roles]
        for _ in range(_MAX_STEPS):
            self.world.rebalance_if_needed()
            for group in groups:
                if not group.members:
                    self.world.spawn(group.role)
            self.world.run_all()
            for op in list(self.world.site.ops):
                if op.land():
                    self.world.site.ops.remove(op)
            self.world.run_all()
            taken = 0
            for process in [p for group in groups for p in group.members]:
                for tp in process.readable():
                    taken += process.fetch(tp, 100)
            self.world.run_all()
            for process in [p for group in groups for p in group.members]:
                process.commit()
            if not taken and not self.world.site.ops and self._is_done(groups):
                return
            self.world.site.now_ms += 250
        raise DoesNotRest(f"under way: {[op.label for op in self.world.site.ops]}")

    def _is_done(self, groups: Sequence[Group]) -> bool:
        broker = self.world.site.broker
        return all(
            (broker.committed(group.role, (topic, number)) or broker.log(topic, number).begin)
            == broker.log(topic, number).end
            for group in groups
            for topic in group.members[0].sources
            for number in range(self.world.plan.partitions)
        ) and not any(
            group.unsettled or any(process.is_taking_over for process in group.members) for group in groups
        )
