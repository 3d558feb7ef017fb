"""Who may look: the login, its cookie, forms of other sites, names that are not ours."""

from __future__ import annotations

import re
import subprocess
import time
import tomllib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from packaging.requirements import Requirement
from starlette.testclient import TestClient

from pipeline.commands.dashboard import hosts_of, is_loopback, server_config
from pipeline.dashboard import login
from pipeline.dashboard.attempts import Attempts, neighbourhood
from pipeline.dashboard.guard import COOKIE
from pipeline.dashboard.seal import LIFETIME_S, STRANGER, Seal, SignIns, Visitor
from pipeline.dashboard.sign_in_folder import SignInFolder
from pipeline.errors import UnusablePath
from pipeline.settings import InvalidSettings, load
from tests.dashboard.conftest import Visit, page_paths
from tests.support.stack import command_line, environment

PASSWORD = "correct horse"
NOW_S = 1_800_000_000
SESSION = "0" * 32
ROOT = Path(__file__).parents[2]


def sign_in(client: TestClient, password: str = PASSWORD, after: str = "/sessions") -> int:
    """The status that the login form gives."""
    form = {"password": password, "next": after}
    return client.post("/login", data=form, follow_redirects=False).status_code


def answered(app: Any, path: str, *headers: tuple[bytes, bytes], **scope: Any) -> list[Mapping[str, Any]]:
    """What the application says to a request that no client library would send as it is."""
    given = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"", "headers": list(headers),
        "server": ("127.0.0.1", 8080), "client": ("127.0.0.1", 5), "state": {}, **scope,
    }  # fmt: skip
    sent: list[Mapping[str, Any]] = []

    async def receive() -> Mapping[str, Any]:
        return {"type": "http.request" if given["type"] == "http" else "websocket.connect", "body": b""}

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    anyio.run(app, given, receive, send)
    return sent


@pytest.fixture(autouse=True)
def no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, delays of the login do not run out meanwhile."""
    monkeypatch.setattr(login, "time", SimpleNamespace(time=time.time, monotonic=lambda: 1_000.0))


@pytest.fixture
def guarded(visit: Visit) -> TestClient:
    return visit(PASSWORD)


def test_nothing_is_shown_without_the_password(guarded: TestClient) -> None:
    paths = page_paths(guarded)
    assert {"/", "/sessions/x", "/crashes/x", "/health", "/pipeline/ledger"} < set(paths)
    for path in paths:
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
    guarded.post("/logout")
    assert guarded.get("/sessions", follow_redirects=False).status_code == 303


HOSTS = (
    "x/login?",
    "x/static/?",
    "x/healthz#",
    "a@b",
    "a b",
    "[::1",
    "x:99999999",
    "",
    "é",
    "x,y",
    "x\\login",
)
"""None of them is the name of a host."""


@pytest.mark.parametrize("path", ["/sessions", "/pipeline", "/filter/dimensions.json"])
def test_the_host_header_opens_nothing(guarded: TestClient, path: str) -> None:
    for host in HOSTS:
        sent = answered(guarded.app, path, (b"host", host.encode()))
        assert sent[0]["status"] == 400, (host, sent)
        named = [(b"host", b"good.example"), (b"host", host.encode())]
        assert answered(guarded.app, path, *named)[0]["status"] == 400, "two of them"


@pytest.mark.parametrize(
    "path",
    [
        "//login", "/login/", "/login/../sessions", "/login/sessions", "/loginx", "/healthz/x", "/static", "//static/x",
        "/./sessions", "/sessions/", "//sessions", "/SESSIONS", "/static\\..\\sessions", "http://x/login", "*", "",
        "/healthz.json",
    ],
)  # fmt: skip
def test_no_way_of_writing_a_path_opens_anything(guarded: TestClient, path: str) -> None:
    for method in ("GET", "HEAD", "OPTIONS", "POST", "TRACE"):
        headers = [(b"host", b"a.example"), (b"origin", b"http://a.example")]
        start, *_ = answered(guarded.app, path, *headers, method=method)
        assert start["status"] in {303, 401}, (method, path)
        if start["status"] == 303:
            location = dict(start["headers"])[b"location"].decode()
            assert re.fullmatch(r"/login\?next=[\w%.*-]*", location), location


@pytest.mark.parametrize(
    "path", ["/static/../sessions", "/static/..%2fapp.py", "/static/../templates/login.html"]
)
def test_static_files_are_all_that_is_under_static(guarded: TestClient, path: str) -> None:
    assert answered(guarded.app, path, (b"host", b"a"))[0]["status"] == 404


def test_no_mount_and_no_socket_goes_round_the_login(guarded: TestClient) -> None:
    for root in ("/static", "/login", "/healthz"):
        start, *_ = answered(guarded.app, f"{root}/sessions", (b"host", b"a"), root_path=root)
        assert start["status"] in {303, 404}, "not the page that is beneath the root"
    for path in ("/sessions", "/login"):
        sent = answered(guarded.app, path, (b"host", b"a"), type="websocket", subprotocols=[])
        assert [message["type"] for message in sent] == ["websocket.close"]


def test_starlette_is_one_that_looks_at_host_headers() -> None:
    """Before 1.0.1 it took the path of `request.url` out of the Host header."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (allowed,) = (each for each in map(Requirement, extras["dashboard"]) if each.name == "starlette")
    assert not any(allowed.specifier.contains(old) for old in ("0.46.0", "1.0.0rc1", "1.0.0"))
    assert allowed.specifier.contains(version("starlette"))


def test_strangers_are_given_nothing_signed(visit: Visit, guarded: TestClient) -> None:
    for client in (visit(), guarded):
        for path in ("/login", "/sessions", "/healthz", "/nowhere", "/static/base.css"):
            answer = client.get(path, follow_redirects=False)
            assert "Set-Cookie" not in answer.headers
            assert not re.search(r"\b[0-9a-f]{32,}\b", answer.text)
        assert client.post("/login", data={"password": "wrong"}).headers.get("Set-Cookie") is None


def test_the_cookie_is_kept_from_scripts_and_other_sites(visit: Visit) -> None:
    def given(scheme: str) -> str:
        client = visit(PASSWORD)
        client.base_url = f"{scheme}://testserver"  # type: ignore[assignment]
        form, origin = {"password": PASSWORD}, {"Origin": f"{scheme}://testserver"}
        answer = client.post("/login", data=form, headers=origin, follow_redirects=False)
        return str(answer.headers["Set-Cookie"])

    plain = given("http")
    assert "HttpOnly" in plain and "SameSite=Lax" in plain and "Secure" not in plain
    assert "; Secure" in given("https")


def test_signing_in_gives_another_cookie(guarded: TestClient) -> None:
    sign_in(guarded)
    before = guarded.cookies[COOKIE]
    sign_in(guarded)
    after = guarded.cookies[COOKIE]
    assert after != before, "a cookie that somebody planted must not become a signed-in one"
    guarded.cookies.clear()
    guarded.cookies.set(COOKIE, before)
    assert guarded.get("/sessions", follow_redirects=False).status_code == 303, "the earlier one has ended"


def test_cookies_are_ours_or_nothing() -> None:
    seal = Seal.of(b"k" * 32, PASSWORD)
    visitor = Visitor(SESSION, NOW_S + LIFETIME_S)
    cookie = seal.cookie(visitor)
    assert seal.visitor(cookie, NOW_S) == visitor and visitor.is_signed_in and not STRANGER.is_signed_in
    assert seal.visitor(cookie, NOW_S + LIFETIME_S) == STRANGER, "too old"
    assert Seal.of(b"k" * 32, "other").visitor(cookie, NOW_S) == STRANGER, "signed with another password"
    assert Seal.of(b"l" * 32, PASSWORD).visitor(cookie, NOW_S) == STRANGER, "the password alone signs nothing"
    for index in range(len(cookie)):
        changed = cookie[:index] + chr(ord(cookie[index]) ^ 1) + cookie[index + 1 :]
        assert seal.visitor(changed, NOW_S) == STRANGER, changed
    for text in ("", cookie + "\n", " " + cookie):
        assert seal.visitor(text, NOW_S) == STRANGER


def test_signing_out_ends_it_for_copies_of_the_cookie_too(guarded: TestClient) -> None:
    sign_in(guarded)
    copied = guarded.cookies[COOKIE]
    answer = guarded.post("/logout", follow_redirects=False)
    assert answer.status_code == 303 and "Max-Age=0" in answer.headers["Set-Cookie"]
    guarded.cookies.clear()
    guarded.cookies.set(COOKIE, copied)
    assert guarded.get("/sessions", follow_redirects=False).status_code == 303
    assert sign_in(guarded) == 303, "others, and the same person again, are not concerned"
    assert guarded.get("/sessions").status_code == 200


def sign_ins(folder: Path | None, password: str = PASSWORD) -> SignIns:
    kept = SignInFolder(folder, NOW_S)
    return SignIns(Seal.of(kept.secret, password), kept)


def test_sign_ins_outlive_a_restart_and_reach_every_replica(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "state"
    one, other = sign_ins(folder), sign_ins(folder)
    cookie, second = one.begin(NOW_S), one.begin(NOW_S)
    assert other.visitor(cookie, NOW_S).is_signed_in and sign_ins(folder).visitor(cookie, NOW_S).is_signed_in
    one.end(one.visitor(cookie, NOW_S), NOW_S)
    for each in (one, other, sign_ins(folder)):
        assert each.visitor(cookie, NOW_S) == STRANGER, "signed out, in every process and after a restart"
        assert each.visitor(second, NOW_S).is_signed_in
    assert sign_ins(folder, "changed").visitor(second, NOW_S) == STRANGER, "a new password ends all of them"
    assert sign_ins(None).visitor(second, NOW_S) == STRANGER
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {0o600}


def test_what_was_signed_out_is_forgotten_once_its_cookie_is_too_old(tmp_path: Path) -> None:
    kept = SignInFolder(tmp_path, NOW_S)
    kept.end(SESSION, NOW_S + 10, NOW_S)
    assert SignInFolder(tmp_path, NOW_S + 9).is_ended(SESSION, NOW_S + 10)
    kept.end("1" * 32, NOW_S + 99, NOW_S + 11)
    assert [path.name for path in (tmp_path / "ended").iterdir()] == [f"{NOW_S + 99}.{'1' * 32}"]


def test_a_key_that_others_read_or_that_is_none_is_not_used(tmp_path: Path) -> None:
    SignInFolder(tmp_path, NOW_S)
    secret = tmp_path / "secret"
    secret.chmod(0o604)
    with pytest.raises(OSError, match="read by others"):
        SignInFolder(tmp_path, NOW_S)
    secret.chmod(0o600)
    for text in ("", "abc", "0" * 63, "g" * 64):
        secret.write_text(text)
        with pytest.raises(OSError, match="not a key"):
            SignInFolder(tmp_path, NOW_S)
    secret.unlink()
    secret.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        SignInFolder(tmp_path, NOW_S)


def test_what_cannot_be_looked_up_counts_as_ended(tmp_path: Path) -> None:
    kept = SignInFolder(tmp_path, NOW_S)
    (tmp_path / "ended").rmdir()
    assert kept.is_ended(SESSION, NOW_S + 10), "somebody took the folder away"


def test_a_sign_out_that_cannot_be_kept_is_told(guarded: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    sign_in(guarded)
    monkeypatch.setattr(SignInFolder, "end", full)
    answer = guarded.post("/logout", follow_redirects=False)
    assert answer.status_code == 503 and "could not be stored" in answer.text
    assert "Max-Age=0" in answer.headers["Set-Cookie"]


def test_a_folder_that_cannot_be_used_is_told_at_the_start(visit: Visit, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnusablePath, match="PIPELINE_DASHBOARD_DIR"):
        visit(PASSWORD, folder=tmp_path / "file")


@pytest.mark.parametrize("path", ["/login", "/logout", "/filter/save"])
def test_forms_of_other_sites_are_refused(visit: Visit, path: str) -> None:
    client = visit(bare=True)
    good = {"Origin": "http://testserver"}
    for headers in (
        {},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://testserver.evil.example"},
        {"Origin": "http://testserver:81"},
        {"Sec-Fetch-Site": "cross-site", **good},
        {"Sec-Fetch-Site": "same-site", **good},
        {"Sec-Fetch-Site": "", **good},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.example"},
    ):
        assert client.post(path, data={"password": PASSWORD}, headers=headers).status_code == 403, headers
    for headers in (good, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "same-origin", **good}):
        assert client.post(path, data={"password": ""}, headers=headers).status_code != 403, headers
    assert client.post(path, content=b"app=" + b"x" * 70_000, headers=good).status_code == 413


def test_pages_are_not_parts_of_other_sites(client: TestClient) -> None:
    def status(site: str, mode: str, into: str) -> int:
        told = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": into}
        return client.get("/sessions", headers=told).status_code

    assert status("cross-site", "navigate", "document") == 200, "a link"
    assert status("same-origin", "cors", "empty") == status("none", "navigate", "document") == 200
    for site in ("cross-site", "same-site"):
        for mode, into in (
            ("no-cors", "image"),
            ("no-cors", "script"),
            ("cors", "empty"),
            ("navigate", "iframe"),
        ):
            assert status(site, mode, into) == 403, (site, mode, into)


@pytest.mark.parametrize(
    "after",
    ["//evil.example", "/\\evil.example", "https://evil.example", "/\n/evil", "", "/\t/evil.example",
     "javascript:alert(1)", "\u2028//evil", "evil.example", " //evil.example", "@evil.example"],
)  # fmt: skip
def test_the_login_leads_to_no_other_server(guarded: TestClient, after: str) -> None:
    form = {"password": PASSWORD, "next": after}
    answer = guarded.post("/login", data=form, follow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")


def test_guessing_is_slow_for_the_one_who_guesses(visit: Visit) -> None:
    guesser = visit(PASSWORD, client="203.0.113.9")
    assert {sign_in(guesser, f"guess {n}") for n in range(5)} == {403}
    refused = guesser.post("/login", data={"password": PASSWORD}, follow_redirects=False)
    assert refused.status_code == 429, "not even the right one"
    assert refused.headers["Retry-After"] == "1" and "Set-Cookie" not in refused.headers
    somebody = TestClient(guesser.app, headers=guesser.headers, client=("203.0.113.10", 1))
    assert sign_in(somebody) == 303, "from another address at once"


def test_a_sign_in_clears_the_slips_before_it(guarded: TestClient) -> None:
    for _ in range(2):
        assert {sign_in(guarded, "slip") for _ in range(4)} == {403}
        assert sign_in(guarded) == 303


def test_delays_grow_and_end() -> None:
    attempts, now_s, waits = Attempts(), 0.0, []
    for _ in range(20):
        now_s += (wait_s := attempts.wait_s("a", now_s))
        assert attempts.wait_s("a", now_s) == 0
        waits.append(wait_s)
        attempts.failed("a", now_s)
    assert waits[:5] == [0] * 5 and waits[5:8] == [1, 2, 4] and waits[-1] == 900
    assert attempts.wait_s("b", now_s) == 0
    assert attempts.wait_s("a", now_s + 86_400) == 0
    attempts.failed("a", now_s + 86_400)
    assert attempts.wait_s("a", now_s + 86_400) == 0, "a day later it begins anew"


def test_addresses_are_remembered_in_bounded_memory() -> None:
    attempts = Attempts(most=100)
    for n in range(10_000):
        attempts.failed(f"10.0.{n // 250}.{n % 250}", n / 1_000)
        for _ in range(6 if n == 9_990 else 0):
            attempts.failed("guesser", n / 1_000)
    assert len(attempts) == 100
    assert attempts.wait_s("guesser", 10.0) > 0


def test_neighbours_count_together() -> None:
    one = neighbourhood("2001:db8:1:2::1")
    for same in ("2001:db8:1:2:ffff::9", "[2001:db8:1:2::1]:80", "[2001:db8:1:2::3]", "2001:db8:1:2::7%eth0"):
        assert neighbourhood(same) == one
    assert neighbourhood("2001:db8:1:3::1") != one
    for same in ("::ffff:192.0.2.1", "192.0.2.1:4711", "[::ffff:192.0.2.1]:1"):
        assert neighbourhood(same) == neighbourhood("192.0.2.1")
    assert neighbourhood("192.0.2.1") != neighbourhood("192.0.2.2")
    assert neighbourhood("testclient") == neighbourhood("x" * 99_999) == neighbourhood("") == ""


def behind_proxies(guarded: TestClient, proxies: str, peer: str) -> TestClient:
    """A client of the server as it is configured, which connects from `peer`."""
    config = server_config(guarded.app, load({"PIPELINE_DASHBOARD_PROXIES": proxies}))
    config.load()
    return TestClient(config.loaded_app, headers=guarded.headers, client=(peer, 1))


def guesses(client: TestClient, *forwarded: str) -> list[int]:
    """The statuses of wrong passwords that a proxy says came from these addresses."""
    told = [{"X-Forwarded-For": each} for each in forwarded]
    form = {"password": "wrong"}
    return [client.post("/login", data=form, headers=each).status_code for each in told]


def test_forwarded_addresses_are_believed_of_trusted_proxies_alone(guarded: TestClient) -> None:
    many = [f"198.51.100.{n}" for n in range(6)]
    for peer in ("127.0.0.1", "::1"):
        client = behind_proxies(guarded, "", peer)
        assert guesses(client, *many)[-1] == 429, "anyone may write that header: what counts is who connected"
    assert guesses(behind_proxies(guarded, "10.0.0.0/8", "192.0.2.1"), *many)[-1] == 429

    client = behind_proxies(guarded, "10.0.0.0/8,fd00::1", "10.1.2.3")
    assert guesses(client, *many) == [403] * 6
    spoofed = [f"{each}, 198.51.100.77, 10.9.9.9" for each in many]
    assert guesses(client, *spoofed) == [403] * 5 + [429], (
        "the last that no proxy of ours added is the visitor"
    )
    form, safe = {"password": PASSWORD}, {"X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.99"}
    assert (
        "; Secure"
        in client.post("/login", data=form, headers=safe, follow_redirects=False).headers["Set-Cookie"]
    )


@pytest.mark.parametrize("text", ["*", "proxy.example", "10.0.0.1/8", "10.0.0.0/8,,", "0.0.0.0/0", "::/0"])
def test_proxies_are_addresses_or_networks(text: str) -> None:
    with pytest.raises(InvalidSettings, match="dashboard_proxies"):
        load({"PIPELINE_DASHBOARD_PROXIES": text})


def test_long_and_strange_passwords_are_compared_whole(visit: Visit) -> None:
    for password in ("é" * 1_000, "a\udcffb"):
        assert sign_in(visit(password), "é" * 999) == 403
    assert sign_in(visit("é" * 1_000), "é" * 1_000) == 303


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
