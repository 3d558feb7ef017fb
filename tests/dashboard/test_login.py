"""Who may look: the login, its cookie, forms of other sites, names that are not ours."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pipeline.commands.dashboard import hosts_of, is_loopback
from pipeline.dashboard.guard import COOKIE
from pipeline.dashboard.seal import LIFETIME_S, Seal, Visitor
from tests.dashboard.conftest import Visit
from tests.dashboard.markup import Page
from tests.stack import command_line, environment

PASSWORD = "correct horse"
NOW_S = 1_800_000_000


def token(html: str) -> str:
    """The token of the first form on a page."""
    return next(Page(html).all("input", name="token")).attributes["value"]


def sign_in(client: TestClient, password: str = PASSWORD, after: str = "/sessions") -> int:
    """The status that the login form gives."""
    form = {"token": token(client.get("/login").text), "password": password, "next": after}
    return client.post("/login", data=form, follow_redirects=False).status_code


@pytest.fixture
def guarded(visit: Visit) -> TestClient:
    return visit(PASSWORD)


def test_nothing_is_shown_without_the_password(guarded: TestClient) -> None:
    for path in (
        "/",
        "/sessions",
        "/timeline",
        "/health",
        "/pipeline",
        "/pipeline/ledger",
        "/sessions/x/event",
    ):
        answer = guarded.get(f"{path}?app=a&filter=b", follow_redirects=False)
        assert (answer.status_code, answer.text) == (303, "")
        assert answer.headers["Location"] == f"/login?next={path.replace('/', '%2F')}%3Fapp%3Da%26filter%3Db"
    for path in ("/sessions/x/marks.json", "/filter/dimensions.json"):
        assert guarded.get(path).status_code == 401
    assert guarded.post("/filter/save", data={}).status_code == 401
    assert guarded.get("/healthz").text == "ok\n"
    assert guarded.get("/static/base.css").status_code == 200


def test_the_password_opens_and_signing_out_closes(guarded: TestClient) -> None:
    assert sign_in(guarded, "wrong") == 403
    assert guarded.get("/sessions", follow_redirects=False).status_code == 303
    assert sign_in(guarded) == 303
    cookies = guarded.get("/sessions")
    assert cookies.status_code == 200 and "Sign out" in cookies.text
    guarded.post("/logout", data={"token": token(cookies.text)})
    assert guarded.get("/sessions", follow_redirects=False).status_code == 303


def test_the_cookie_is_kept_from_scripts_and_other_sites(visit: Visit) -> None:
    plain = visit(PASSWORD).get("/login").headers["Set-Cookie"]
    assert "HttpOnly" in plain and "SameSite=Lax" in plain and "Secure" not in plain
    safe = visit(PASSWORD)
    safe.base_url = "https://testserver"  # type: ignore[assignment]
    assert "; Secure" in safe.get("/login").headers["Set-Cookie"]


def test_signing_in_gives_another_cookie(guarded: TestClient) -> None:
    guarded.get("/login")
    before = guarded.cookies[COOKIE]
    sign_in(guarded)
    assert guarded.cookies[COOKIE] != before, "a cookie that somebody planted must not become a signed-in one"


def test_cookies_are_ours_or_nothing() -> None:
    seal = Seal.of_password(PASSWORD)
    cookie = seal.cookie(Visitor("0" * 32, is_signed_in=True), NOW_S)
    assert seal.visitor(cookie, NOW_S) == Visitor("0" * 32, is_signed_in=True)
    assert seal.visitor(cookie, NOW_S + LIFETIME_S) is None, "too old"
    assert Seal.of_password("other").visitor(cookie, NOW_S) is None, "signed with another password"
    out = seal.cookie(Visitor("0" * 32, is_signed_in=False), NOW_S)
    assert seal.visitor(out.replace(".0.", ".1.", 1), NOW_S) is None, "promoted by hand"
    for index in range(len(cookie)):
        changed = cookie[:index] + chr(ord(cookie[index]) ^ 1) + cookie[index + 1 :]
        assert seal.visitor(changed, NOW_S) is None, changed
    assert seal.visitor("", NOW_S) is None
    assert seal.visitor(cookie + "\n", NOW_S) is None


@pytest.mark.parametrize("path", ["/login", "/logout", "/filter/save"])
def test_forms_of_other_sites_are_refused(client: TestClient, path: str) -> None:
    client.get("/login")
    assert client.post(path, data={"password": PASSWORD}).status_code == 403
    assert client.post(path, data={"token": "0" * 64}).status_code == 403
    foreign = token(client.get("/login").text)
    client.cookies.clear()
    assert client.post(path, data={"token": foreign}).status_code == 403, "the token of another visitor"
    assert client.post(path, content=b"token=" + b"x" * 70_000).status_code == 413


@pytest.mark.parametrize(
    "after", ["//evil.example", "/\\evil.example", "https://evil.example", "/\n/evil", ""]
)
def test_the_login_leads_to_no_other_server(guarded: TestClient, after: str) -> None:
    form = {"token": token(guarded.get("/login").text), "password": PASSWORD, "next": after}
    answer = guarded.post("/login", data=form, follow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")


def test_guessing_is_slow(guarded: TestClient) -> None:
    assert {sign_in(guarded, f"guess {n}") for n in range(10)} == {403}
    assert sign_in(guarded, "another") == 429
    assert sign_in(guarded) == 429, "not even the right one"


def test_without_a_login_it_answers_to_its_own_names_only(visit: Visit) -> None:
    client = visit(hosts=hosts_of("127.0.0.1"))
    assert client.get("/sessions", headers={"Host": "evil.example"}).status_code == 421
    for host in ("localhost:8080", "127.0.0.1:8080", "[::1]:8080"):
        assert client.get("/healthz", headers={"Host": host}).status_code == 200


def test_loopback() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "127.3.2.1")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.4", "example.org")] == [False] * 4


def test_it_does_not_start_open_to_others_without_a_password(tmp_path: Path) -> None:
    done = subprocess.run(
        command_line("dashboard", "--host", "0.0.0.0", "--port", "0"),
        env=environment({}), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert "PIPELINE_DASHBOARD_PASSWORD" in done.stderr and len(done.stderr.splitlines()) == 1
