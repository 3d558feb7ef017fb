"""Where each table and view of the schema lies in a cluster.

- Tables of devices lie on shards: each row on the shard of its device, so that all rows of one event and of one session
  meet, and what belongs to one device is joined where it lies.
- So does what materialized views make of such rows as they are inserted, device or not: a name, say, has a row on each
  shard that has seen it. Who reads such a table takes each value once (DISTINCT); FINAL sees to it on each shard alone.
- All other tables are small (the ledger: two bytes a record) and are asked for together with the others. Each host has
  all of such a table.
- Views that have nothing but rows of single devices are on the shards, so that each host answers for its devices; all
  others are on top.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from pipeline.clickhouse.words import NotUnderstood, split_at_commas

_DEVICE = frozenset({"app_id", "device_id"})
_KEY = "cityHash64(app_id, device_id)"

VIEWS_BY_DEVICE = frozenset(
    {
        *(
            "z_stored_events",
            "z_unmerged_events",
            "z_stored_event_versions",
            "notable_events",
            "conflicting_events",
        ),
        *("events", "narrated_events", "sessions", "sessions_as_told", "session_health", "stitched_sessions"),
    }
)
"""Views whose every row comes of rows of one device. A view that is not named here is right as well, only slower: the
host that is asked collects the rows. A view that some cluster has on top cannot be put here under the same name."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a table or a view lies."""

    name: str
    is_sharded: bool
    """On the shards, each with its part, and one in front that is all of them; otherwise whole on every host."""
    key: str = ""
    """The shard of a row that is inserted; empty where nothing is."""
    is_tap: bool = False
    """A materialized view: nothing is in front of it."""
    is_view: bool = False
    reads: frozenset[str] = field(default=frozenset())
    """What a view reads, by name."""


class Catalogue:
    """Where everything lies that was made so far."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self._fed_on_shards: set[str] = set()

    def place(self, name: str) -> Place:
        """Raises NotUnderstood for a name that no statement made."""
        found = self._places.get(name)
        if found is None:
            raise NotUnderstood(f"{name}: no file of the schema makes it, so it is not known where it lies")
        return found

    def tables(self) -> list[Place]:
        """All tables, by name."""
        places = sorted(self._places.values(), key=lambda place: place.name)
        return [place for place in places if not place.is_view and not place.is_tap]

    def is_known(self, name: str) -> bool:
        return name in self._places

    def table(self, name: str, columns: str) -> Place:
        """A new table, by its columns as the statement has them, in brackets."""
        names = {part.split(maxsplit=1)[0].strip("`") for part in split_at_commas(columns[1:-1])}
        if names >= _DEVICE:
            return self._put(Place(name, True, _KEY))
        # Of a table without devices each shard may have any row, if it says of which app it is. Else a row has to stay
        # where it was made: there is no key, and the server refuses to bring it anywhere.
        key = "cityHash64(app_id)" if "app_id" in names else ""
        return self._put(Place(name, name in self._fed_on_shards, key))

    def like(self, name: str, other: str) -> Place:
        """A new table that is as another one."""
        return self._put(replace(self.place(other), name=name))

    def view(self, name: str, reads: Iterable[str], parameters: bool) -> Place:
        """A new view, or a new form of one. Raises NotUnderstood where it cannot lie where it is said to."""
        read = frozenset(reads)
        known = self._places.get(name)
        is_sharded = name in VIEWS_BY_DEVICE
        if is_sharded and parameters:
            raise NotUnderstood(f"view {name} has parameters, so it cannot be on the shards")
        if is_sharded:
            for each in sorted(read):
                if not self.place(each).is_sharded and self._is_of_shards(each):
                    raise NotUnderstood(
                        f"view {name} is on the shards and reads {each}, which is on top: put both in the same place"
                    )
        return self._put(
            Place(name, is_sharded, is_view=True, reads=read | (known.reads if known else frozenset()))
        )

    def tap(self, name: str, sources: Iterable[str], target: str) -> Place:
        """A new materialized view; what it fills is where its rows come from.

        A table that is whole everywhere cannot be filled from shards: what each of them inserts has the same token,
        and all but the first would be taken for a repetition. Raises NotUnderstood for a view of tables in different
        places.
        """
        into = self.place(target)
        places = {self.place(each).is_sharded for each in sources}
        if len(places) != 1:
            raise NotUnderstood(f"{name} reads tables that do not lie in the same place, or none")
        is_sharded = places.pop()
        if into.is_sharded and not is_sharded:
            raise NotUnderstood(
                f"{name} would bring rows that every host has into {target}, which is on the shards"
            )
        if is_sharded and not into.is_sharded:
            self._fed_on_shards.add(target)
            self._put(replace(into, is_sharded=True))
        return self._put(Place(name, is_sharded, is_tap=True))

    def _put(self, place: Place) -> Place:
        self._places[place.name] = place
        return place

    def _is_of_shards(self, name: str) -> bool:
        place = self.place(name)
        return place.is_sharded or any(self._is_of_shards(each) for each in place.reads if each != name)
