"""deploy/clickhouse-users.sql gives each user what its programs are tested with, and nothing else to anybody."""

from __future__ import annotations

import re

import pytest

from pipeline.clickhouse.needs import PROGRAMS, grants_of
from tests.support.clickhouse_users import DATABASE, FILE, given_to, policies_of, statements, user_of

USERS = tuple(dict.fromkeys(map(user_of, PROGRAMS)))


@pytest.mark.parametrize("user", USERS)
def test_a_user_is_given_what_its_programs_need(user: str) -> None:
    needed = {grant.sql(DATABASE) for name in PROGRAMS if user_of(name) == user for grant in grants_of(name)}
    given = given_to(user)
    assert set(given) == needed and len(given) == len(needed)


def test_each_user_is_made_with_a_password_to_be_changed() -> None:
    made = {}
    for statement in statements():
        match = re.fullmatch(
            r"CREATE USER IF NOT EXISTS session_pipeline_(\w+) IDENTIFIED WITH sha256_password BY '([^']*)'"
            r"( SETTINGS PROFILE '\w+')?",
            statement,
        )
        if match:
            made[match[1]] = match[2]
    assert made == {user: f"CHANGE-ME-{user}" for user in (*USERS, "tenant")}


def test_nothing_else_is_in_it() -> None:
    begins = ("CREATE USER IF NOT EXISTS session_pipeline_", "GRANT ", "CREATE ROW POLICY IF NOT EXISTS ")
    begins += ("CREATE QUOTA IF NOT EXISTS ", "CREATE SETTINGS PROFILE IF NOT EXISTS ")
    assert all(statement.startswith(begins) for statement in statements())
    for word in ("ALL", "ACCESS MANAGEMENT", "WITH GRANT OPTION", "FILE", "URL", "REMOTE", "SYSTEM"):
        assert not any(re.search(rf"\b{word}\b", statement) for statement in statements()), word
    grants = [statement for statement in statements() if statement.startswith("GRANT ")]
    assert sum(
        statement.endswith(f" TO session_pipeline_{user}")
        for user in (*USERS, "tenant")
        for statement in grants
    ) == len(grants)


def test_a_tenant_reads_and_sees_one_app() -> None:
    assert all(
        grant.startswith(f"SELECT ON {DATABASE}.") and "*" not in grant for grant in given_to("tenant")
    )
    assert set(policies_of("tenant").values()) == {
        "app_id IN ('a')",
        "reason = 'device_set_aside' AND startsWith(key, 'a/')",
    }
    assert " TO session_pipeline_tenant" in FILE.read_text(encoding="utf-8")
