"""What ClickHouse's error codes mean for whoever asked."""

from __future__ import annotations

from collections.abc import Mapping

UNKNOWN_TABLE, UNKNOWN_DATABASE = 60, 81
NOT_THERE = (UNKNOWN_TABLE, UNKNOWN_DATABASE)
"""Nobody has migrated yet."""
ACCESS_DENIED = 497
"""A grant is missing."""

REFUSED_CODES: Mapping[int, str] = {
    # What was sent is not a row of this table: text that does not parse as the column's type.
    6: "CANNOT_PARSE_TEXT",
    25: "CANNOT_PARSE_ESCAPE_SEQUENCE",
    26: "CANNOT_PARSE_QUOTED_STRING",
    27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
    33: "CANNOT_READ_ALL_DATA",
    38: "CANNOT_PARSE_DATE",
    41: "CANNOT_PARSE_DATETIME",
    72: "CANNOT_PARSE_NUMBER",
    117: "INCORRECT_DATA",
    130: "CANNOT_READ_ARRAY_FROM_TEXT",
    376: "CANNOT_PARSE_UUID",
    467: "CANNOT_PARSE_BOOL",
    # It parses, but the type cannot hold it.
    53: "TYPE_MISMATCH",
    69: "ARGUMENT_OUT_OF_BOUND",
    70: "CANNOT_CONVERT_TYPE",
    128: "TOO_LARGE_ARRAY_SIZE",
    131: "TOO_LARGE_STRING_SIZE",
    306: "TOO_DEEP_RECURSION",
    321: "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
    349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
    407: "DECIMAL_OVERFLOW",
    469: "VIOLATED_CONSTRAINT",
    691: "UNKNOWN_ELEMENT_OF_ENUM",
}
"""Errors that the rows themselves cause. All others are transient, among them TOO_MANY_PARTS,
MEMORY_LIMIT_EXCEEDED, TIMEOUT_EXCEEDED, TABLE_IS_READ_ONLY, and what an operator mends: UNKNOWN_TABLE,
UNKNOWN_DATABASE, NO_SUCH_COLUMN_IN_TABLE, AUTHENTICATION_FAILED."""

BUSY_CODES: Mapping[int, str] = {
    # A query that meets one of these may succeed later; other errors of a query are its own.
    159: "TIMEOUT_EXCEEDED",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    225: "NO_ZOOKEEPER",
    241: "MEMORY_LIMIT_EXCEEDED",
    242: "TABLE_IS_READ_ONLY",
    252: "TOO_MANY_PARTS",
    279: "ALL_CONNECTION_TRIES_FAILED",
    319: "UNKNOWN_STATUS_OF_INSERT",
    394: "QUERY_WAS_CANCELLED",
    425: "SYSTEM_ERROR",
    999: "KEEPER_EXCEPTION",
}


def code_of(error: BaseException) -> int | None:
    """The code that ClickHouse gave for what the store raised; None where it gave none, as when it does not answer."""
    code: int | None = getattr(error.__cause__, "code", None)
    return code
