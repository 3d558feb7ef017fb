"""How the pipeline inserts rows: the settings of every insert of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

INSERT_SETTINGS: Mapping[str, Any] = {
    # Success must mean stored.
    "async_insert": 0,
    # On every shard of a cluster that the rows belong to; on one server it says nothing.
    "distributed_foreground_insert": 1,
    "insert_deduplicate": 1,
    # A try may have died between a table and what is copied from it: the next one must still reach the copy. Not every
    # version of the server does so by itself.
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    # Copies in one block are as any others: readers see one of them (FINAL), and merges leave it. To look for them in
    # every block first takes a quarter of an insert's CPU, and most blocks have none.
    "optimize_on_insert": 0,
    # Sinks insert at once; to cut a block for several threads takes a sixth more CPU than to read it by one.
    "input_format_parallel_parsing": 0,
    # Attributes are maps of text; events bring numbers, booleans, lists and objects too.
    "input_format_json_read_numbers_as_strings": 1,
    "input_format_json_read_bools_as_strings": 1,
    "input_format_json_read_arrays_as_strings": 1,
    "input_format_json_read_objects_as_strings": 1,
    # Events of an envelope are arrays: their names would be most of them.
    "input_format_json_named_tuples_as_objects": 0,
    # Uploads of devices that were off for long touch many months. The tables bound the number of partitions.
    "max_partitions_per_insert_block": 0,
}
