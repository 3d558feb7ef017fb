"""What privacy rules leave of an event, by every way that it can take: bytes, row, fold, dead letter."""

from __future__ import annotations

import re
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.privacy import LEFT_OUT, STEERING, Privacy, Rules, Samplings
from pipeline.formats import native
from pipeline.formats.edge import Edge
from pipeline.formats.native.cleaner import AS_IT_CAME, Cleaner
from pipeline.formats.native.events import arrivals_of
from pipeline.formats.privacy.detectors import network_of, with_addresses, with_emails, with_queries
from pipeline.formats.privacy.patterns import Patterns, lower
from pipeline.formats.privacy.walk import is_hashed
from pipeline.formats.rejected import Reason, Rejected
from pipeline.storage.dead_letter import dead_letters_of, let_in

NOW = 1_767_600_000_000
KEY = b"app/device"
SECRET = "a secret of more than thirty-two characters"


def envelope(**parts: Any) -> dict[str, Any]:
    event = {"id": "e1", "name": "tap", "time": NOW, "attributes": parts.pop("attributes", {})}
    return {"v": 1, "app_id": "app", "device_id": "device", **parts, "events": [event]}


def edge(rules: Rules | None = None) -> Edge:
    return Edge(Privacy(rules or Rules()), Samplings(), SECRET)


def left(rules: Rules | None, **parts: Any) -> native.Envelope:
    """What is left, which is the same by every way: directly, by the router, and by both."""
    value = orjson.dumps(envelope(**parts))
    at_edge = edge(rules)
    cleaner = at_edge.cleaner_of(KEY)
    straight = native.decode(value, KEY, NOW, cleaner)
    routed = at_edge.cleaned(KEY, value)
    assert at_edge.cleaned(KEY, routed) == routed
    assert not isinstance(straight, Rejected)
    assert native.decode(routed, KEY, NOW, cleaner) == straight
    assert _said(native.decode(routed, KEY, NOW)) == _said(straight)
    [(_, _, folded)], refused, _ = arrivals_of(KEY, [0, NOW, value, None], cleaner)
    assert (folded, refused) == (native.to_events(straight), 0)
    return straight


def _said(read: native.Envelope | Rejected) -> Any:
    assert not isinstance(read, Rejected)
    return read.resource, read.user, [orjson.loads(event.attributes) for event in read.events]


def attributes(rules: Rules | None, given: dict[str, Any]) -> Any:
    return orjson.loads(left(rules, attributes=given).events[0].attributes)


def properties(rules: Rules | None, given: dict[str, Any]) -> Any:
    user = left(rules, user={"id": "u", "properties": given}).user
    return orjson.loads(user).get("properties", {})


@pytest.mark.parametrize("name", LEFT_OUT)
def test_names_and_addresses_of_users_are_off(name: str) -> None:
    parent, _, own = name.partition(".")
    other = {"screen": "Home", "user.plan": "gold"}
    assert attributes(None, {name: "Jane", **other}) == other
    assert attributes(None, {parent: {own: "Jane", "kind": 1}}) == {parent: {"kind": 1}}
    assert attributes(None, {parent: [{own: "Jane"}, 3]}) == {parent: [{}, 3]}
    assert properties(None, {own.upper(): "Jane", "plan": "gold"})["plan"] == "gold"
    if parent == "user":
        assert properties(None, {own: "Jane", own.title(): "Jane", name: "Jane"}) == {}
    assert orjson.loads(left(None, resource={name: "Jane", "os.name": "iOS"}).resource) == {"os.name": "iOS"}
    assert attributes(Rules(keep=(name,)), {name: "Jane"}) == {name: "Jane"}
    assert attributes(Rules(keep=("*",)), {name: "Jane"}) == {name: "Jane"}


def test_the_user_stays_who_it_is() -> None:
    user = {"id": "u1", "personas": ["gold"], "properties": {"email": "jane@example.org", "experiment": "B"}}
    kept = {"id": "u1", "personas": ["gold"], "properties": {"experiment": "B"}}
    assert orjson.loads(left(None, user=user).user) == kept
    given = {"user.id": "u1", "enduser.id": "u1", "name": "n", "email": "e", "device.model.name": "m"}
    assert attributes(None, given) == given


def test_an_envelope_in_which_there_is_nothing_to_do_keeps_its_bytes() -> None:
    value = b'{"v": 1, "app_id":"app","device_id":"device", "user":{"id":"u"},"x":1,"events":[]}'
    assert edge().cleaned(KEY, value) is value
    rules = Rules(drop=("account.*",), emails="drop", queries="mask")
    assert edge(rules).cleaned(KEY, value) is value


@pytest.mark.parametrize(
    "part",
    [
        '"events":1',
        '"events":"e"',
        '"events":[{"id":"e","name":"n","time":1764000000000}],"user":{"personas":"p"}',
    ],
    ids=["number", "text", "personas"],
)
def test_what_is_no_list_is_refused_under_the_default_rules_too(part: str) -> None:
    """In a form that the rules make of it, it was taken: for a fault in the program, or, sent again, of its device."""
    value = f'{{"v":1,"app_id":"a","device_id":"d",{part}}}'.encode()
    cleaner = Edge(Privacy(), Samplings()).cleaner_of(b"a/d")
    read, as_it_came = (
        native.decode(value, b"a/d", 1_764_000_000_000, each) for each in (cleaner, AS_IT_CAME)
    )
    assert isinstance(read, Rejected) and read == as_it_came


def test_other_attributes_keep_their_bytes() -> None:
    value = (
        b'{"v":1,"app_id":"app","device_id":"device","events":[{"id":"e","name":"n","time":%d,'
        b'"attributes":{"user.name":"Jane","big":123456789012345678901234567890,"f":1.50,"s":"\\u00e9"}}]}'
    ) % NOW
    read = native.decode(value, KEY, NOW, edge().cleaner_of(KEY))
    assert not isinstance(read, Rejected)
    assert read.events[0].attributes == b'{"big":123456789012345678901234567890,"f":1.50,"s":"\\u00e9"}'


def test_lists_go_in_order_and_reach_nested_members() -> None:
    rules = Rules(
        keep=("a.keep",), drop=("a.*", "*token*"), hash=("login", "a.keep"), mask=("Phone", "card.*.no")
    )
    made = attributes(
        rules,
        {
            "a.keep": "1",
            "a.other": "2",
            "x": {"y": {"my_token_2": "3", "phone": ["4", 5, None, {"z": True}]}},
            "login": {"one": "jane", "two": ["jane"]},
            "card": {"visa": {"no": "6", "type": "t"}},
        },
    )
    hashed = made["login"]["one"]
    assert is_hashed(hashed)
    assert made == {
        "a.keep": "1",
        "x": {"y": {"phone": ["***", "***", None, {"z": "***"}]}},
        "login": {"one": hashed, "two": [hashed]},
        "card": {"visa": {"no": "***", "type": "t"}},
    }
    assert properties(rules, {"LOGIN": "jane", "a.keep": "1", "token": "t"}) == {
        "LOGIN": hashed,
        "a.keep": "1",
    }


def test_a_name_may_be_escaped_and_of_any_script() -> None:
    value = orjson.dumps(envelope(attributes={"user.name": "Jane", "straße.Öl": "x", "ok": 1}))
    value = value.replace(b'"user.name"', b'"\\u0075ser.n\\u0061me"')
    read = native.decode(value, KEY, NOW, edge(Rules(drop=("straße.*",))).cleaner_of(KEY))
    assert not isinstance(read, Rejected)
    assert read.events[0].attributes == b'{"ok":1}'


def test_hashes_are_keyed_joinable_and_of_one_app() -> None:
    rules = Rules(hash=("login",), user_id="hash")
    one = attributes(rules, {"login": "jane", "user.id": "u", "number": 7})
    user = orjson.loads(left(rules, user={"id": "u"}).user)["id"]
    assert one["user.id"] == user and is_hashed(user) and one["number"] == 7
    assert properties(rules, {"login": "jane"}) == {"login": one["login"]}
    assert attributes(rules, {"login": 7})["login"] == attributes(rules, {"login": "7"})["login"]

    def hashed(app: str, secret: str) -> str:
        return Cleaner(rules, app, secret)._walk.hashed("jane")

    assert hashed("app", SECRET) == one["login"]
    assert len({hashed("app", SECRET), hashed("other", SECRET), hashed("app", SECRET[1:])}) == 3


def test_what_steers_sessions_is_out_of_reach_of_names() -> None:
    given = dict.fromkeys(STEERING, "jane")
    assert attributes(Rules(drop=("*",)), given) == given
    assert attributes(Rules(mask=("*",)), {"fatal": True, "x": True}) == {"fatal": True, "x": "***"}
    # A value that is looked for is found there, too, and the session sees what is stored.
    rules = Rules(emails="mask")
    value = envelope(attributes={"app.exit.reason": "jane@example.org"})
    value["events"][0]["name"] = "app.exit"
    read = native.decode(orjson.dumps(value), KEY, NOW, edge(rules).cleaner_of(KEY))
    assert not isinstance(read, Rejected)
    assert read.events[0].exit_reason == "***"


EMAILS = [
    ("jane@example.org", "*"),
    ("to jane.d+x@mail.example.co.uk, please", "to *, please"),
    ("<jane@example.org>", "<*>"),
    ("mailto:jane@example.org?subject=x", "mailto:*?subject=x"),
    ("?mail=jane%40example.org&x=1", "?mail=*&x=1"),
    ("jörg@müller.example", "*"),
    ("a@b@example.org", "*"),
    ("jane@example.org.", "*"),
    ("jane@localhost", "jane@localhost"),
    ("@jane", "@jane"),
    ("react@18.2.0", "react@18.2.0"),
    ("@@example.org", "@@example.org"),
]
ADDRESSES = [
    ("203.0.113.7", "*"),
    ("from 203.0.113.7:8080, to 10.0.0.1.", "from *:8080, to *."),
    ("[2001:db8::7]:443", "[*]:443"),
    ("2001:db8:0:0:0:0:0:7", "*"),
    ("::ffff:203.0.113.7", "*"),
    ("fe80::1%eth0", "*%eth0"),
    ("127.0.0.1 ::1 0.0.0.0 ::", "127.0.0.1 ::1 0.0.0.0 ::"),
    ("v1.2.3.4 1.2.3.4-beta 1.2.3 1.2.3.4.5 300.1.1.1", "v1.2.3.4 1.2.3.4-beta 1.2.3 1.2.3.4.5 300.1.1.1"),
    ("12:34:56 aa:bb:cc:dd:ee:ff std::dead::beef", "12:34:56 aa:bb:cc:dd:ee:ff std::dead::beef"),
]
QUERIES = [
    ("https://example.org/a?token=1#x", "https://example.org/a*"),
    ("GET https://example.org/a?b 200", "GET https://example.org/a* 200"),
    ("/a/b?c=d", "/a/b*"),
    ('"https://example.org/?q"', '"https://example.org/*"'),
    ("https://example.org/cb#access_token=1", "https://example.org/cb*"),
    ("https://example.org/#/home", "https://example.org/#/home"),
    ("https://example.org/#/home?q=1", "https://example.org/#/home*"),
    ("what? and/or? yes", "what? and/or? yes"),
]


@pytest.mark.parametrize(
    ("detector", "text", "expected"),
    [(detector, *case) for detector, cases in (
        (with_emails, EMAILS), (with_addresses, ADDRESSES), (with_queries, QUERIES)
    ) for case in cases],
)  # fmt: skip
def test_what_is_found_in_texts(detector: Any, text: str, expected: str) -> None:
    assert detector(text, lambda found: "*") == expected


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.0"),
        ("::ffff:203.0.113.7", "::ffff:203.0.113.0"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
    ],
)
def test_the_mask_of_an_address_is_its_network(address: str, network: str) -> None:
    assert network_of(address) == network == network_of(network)
    assert attributes(Rules(addresses="mask"), {"ip": f"at {address}"}) == {"ip": f"at {network}"}


def test_what_becomes_of_what_is_found() -> None:
    text = "jane@example.org at 203.0.113.7"
    given = {"a": text, "b": [text, "ok"], "c": {"d": text}, "url": "https://example.org/a?mail=1"}
    rest = {"url": given["url"]}
    assert attributes(Rules(emails="drop"), given) == {"b": ["ok"], "c": {}, **rest}
    assert attributes(Rules(emails="mask"), given)["a"] == "*** at 203.0.113.7"
    hashed = attributes(Rules(emails="hash"), given)["a"].split()
    assert is_hashed(hashed[0]) and hashed[1:] == ["at", "203.0.113.7"]
    assert attributes(Rules(queries="drop"), given)["url"] == "https://example.org/a"
    assert attributes(Rules(queries="mask"), given)["url"] == "https://example.org/a?***"
    assert is_hashed(attributes(Rules(queries="hash"), given)["url"].partition("?")[2])
    assert attributes(Rules(queries="drop"), {"url.query": "a=b", "url.path": "/"}) == {"url.path": "/"}
    # An attribute that an app keeps is kept as it is.
    kept = Rules(keep=("user.email",), emails="mask")
    assert properties(kept, {"email": "jane@example.org", "x": "jane@example.org"}) == {
        "email": "jane@example.org",
        "x": "***",
    }


def test_an_id_that_is_an_address_is_hashed_and_stays_an_id() -> None:
    for how in ("drop", "mask", "hash"):
        rules = Rules(emails=how)
        user = left(rules, user={"id": "jane@example.org"}, attributes={"user.id": "jane@example.org"})
        hashed = orjson.loads(user.user)["id"]
        assert is_hashed(hashed)
        assert orjson.loads(user.events[0].attributes) == {"user.id": hashed}
        assert orjson.loads(left(rules, user={"id": "u1"}).user) == {"id": "u1"}


@pytest.mark.slow
def test_what_hashes_make_too_long_is_still_taken() -> None:
    rules = Rules(hash=("n*",), emails="hash")
    long = " ".join(["a@b.co"] * 140)
    assert is_hashed(properties(rules, {"p": long})["p"])
    many = {f"n{number}": 1 for number in range(60_000)}
    whole = left(rules, attributes=many)
    assert orjson.loads(whole.events[0].attributes) == {}
    resource = {f"n{number}": "1" for number in range(3_000)}
    assert left(rules, resource={**resource, "os.name": "iOS"}).resource == '{"os.name":"iOS"}'


def test_a_deep_and_a_huge_value() -> None:
    rules = Rules(drop=("secret",), emails="mask", queries="drop", addresses="mask")
    deep: Any = {"secret": 1, "mail": "jane@example.org"}
    for _ in range(245):
        deep = {"a": deep}
    made = attributes(rules, {"deep": deep})
    assert b"secret" not in orjson.dumps(made) and b"jane" not in orjson.dumps(made)


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit",
    ["a", "@", "a@", "a@b.", "%40", "1.", "1:", "::", "1.2.3.4", "/?", "?/#=", "a@b.co ", "f::", "x'", "'@"],
)
def test_what_looks_into_texts_takes_linear_time(unit: str) -> None:
    rules = Rules(emails="hash", queries="hash", addresses="hash")
    walk = Cleaner(rules, "app", SECRET)._walk

    def seconds(size: int) -> float:
        text = (unit * size)[:size]
        best = 9.0
        for _ in range(3):
            began = time.process_time()
            walk.text(text)
            best = min(best, time.process_time() - began)
        return best

    # Twelve times as much takes no more than forty times as long: in quadratic time it were 144.
    assert seconds(240_000) < 40 * max(seconds(20_000), 0.001)


@given(
    st.lists(st.text("ab*", min_size=1, max_size=5), min_size=1, max_size=4),
    st.lists(st.text("abc", max_size=6), min_size=1, max_size=8),
)
def test_each_shape_of_a_pattern_matches_as_a_regular_expression_says(
    patterns: list[str], names: list[str]
) -> None:
    said = [re.compile(".*".join(map(re.escape, pattern.split("*")))) for pattern in patterns]
    for name in names:
        assert Patterns(patterns).matches(name) == any(each.fullmatch(name) for each in said)


def test_patterns_match_whole_names_in_linear_time() -> None:
    patterns = Patterns(("a", "b*", "*c", "d*e*f", "g**h"))
    fitting = ["a", "b", "bx", "c", "xc", "def", "dxexf", "gh", "gxh"]
    assert all(patterns.matches(name) for name in fitting)
    assert not any(patterns.matches(name) for name in ["", "aa", "xb", "cx", "df", "de", "dfe", "g"])
    assert lower("Ab.C") == "ab.c" and lower("Ä") == "Ä"
    began = time.process_time()
    assert not Patterns(("*a" * 60 + "b",)).matches("a" * 200_000)
    assert time.process_time() - began < 1


class TestDeadLetters:
    def kept(
        self, rules: Rules, topic: str, value: bytes, key: bytes | None = KEY
    ) -> tuple[bytes | None, str]:
        fault = Rejected(Reason.UNKNOWN_VERSION, "why")
        [letter] = dead_letters_of(topic, 0, 0, record_ms=NOW, key=key, value=value, faults=[fault])
        made = let_in(letter, Edge(Privacy(Rules(), {"app": rules}), Samplings(), SECRET))
        return made.value, made.rejected.detail

    def test_what_can_be_read_is_cleaned(self) -> None:
        bad = envelope(
            attributes={"token": "planted", "user.name": "planted"}, user={"properties": {"name": "planted"}}
        )
        bad["v"] = 7
        bad["unknown"] = {"token": "planted"}
        bad["events"] += ["planted@example.org", {"attributes": ["planted"], "token": "planted"}]
        value, _ = self.kept(Rules(drop=("token",), emails="mask"), "sdk-events", orjson.dumps(bad))
        assert value and b"planted" not in value and orjson.loads(value)["v"] == 7

    def test_what_cannot_be_read_is_left_out_if_it_may_hold_something(self) -> None:
        broken = b'{"app_id":"app","token":"planted'
        value, detail = self.kept(Rules(drop=("token",)), "sdk-events", broken)
        assert value == b"" and f"value of {len(broken)} bytes" in detail
        assert self.kept(Rules(drop=("other",)), "sdk-events", broken) == (broken, "why")
        assert self.kept(Rules(), "sdk-events", b'{"user":{"name":"planted')[0] == b""
        deep = b'{"user.name":"planted","a":' + b"[" * 5_000
        assert self.kept(Rules(), "sdk-events", deep)[0] == b""
        assert self.kept(Rules(), "sdk-events", b"\xff not JSON")[0] == b"\xff not JSON"

    def test_bytes_that_are_mended_are_cleaned(self) -> None:
        event = b'{"attributes":{"user.name":"planted"}}'
        half = b'{"app_id":"app","device_id":"device","v":9,"a":"\\ud800","events":[%b]}' % event
        value, _ = self.kept(Rules(), "sdk-events", half)
        assert value and b"planted" not in value

    def test_another_format_is_cleaned_wherever_a_name_stands(self) -> None:
        body = {
            "app": "app",
            "user": {"email": "planted", "id": "u"},
            "resourceLogs": [{"attributes": [{"key": "user.email", "value": {"stringValue": "planted"}}]}],
            "deep": [{"attributes": {"token": "planted", "enduser.name": "planted"}}, "x"],
        }
        value, _ = self.kept(Rules(drop=("token",)), "otlp_logs", orjson.dumps(body), None)
        assert value and b"planted" not in value and b'"id":"u"' in value
        value, _ = self.kept(Rules(), "otlp_logs", b"\n\x05\x12user.email\x08planted", None)
        assert value == b""
        harmless = b'{ "resourceLogs": [] }'
        assert self.kept(Rules(), "otlp_logs", harmless, None)[0] is harmless

    def test_no_pattern_reaches_what_steers_sessions_there_either(self) -> None:
        given = {
            "app.state": "foreground",
            "app.other": "planted",
            "attributes": [
                *({"key": name, "value": {"stringValue": "jane"}} for name in sorted(STEERING)),
                {"key": "app.other", "value": {"stringValue": "planted"}},
            ],
        }
        rules = Rules(drop=("app.*", "*r*", "fat*", "passive*"), mask=("severity*",))
        given = {"a": given.pop("attributes"), **given}
        value, _ = self.kept(rules, "otlp_logs", orjson.dumps(given), None)
        assert value and orjson.loads(value) == {"a": given["a"][:-1], "app.state": "foreground"}

    def test_a_name_may_go_over_several_levels_of_another_format(self) -> None:
        def pair(key: str, **value: Any) -> dict[str, Any]:
            return {"key": key, "value": value}

        body = {
            "payment": {"card": {"number": "planted"}, "ok": "stays"},
            "contexts": {"payment": {"attributes": {"card": "planted"}}},
            "x": [
                pair("payment", kvlistValue={"values": [pair("card", stringValue="planted")]}),
                pair("user", kvlistValue={"values": [pair("email", stringValue="planted")]}),
                {**pair("token", stringValue="secret"), "user.email": "planted"},
            ],
            "meta": {"user": {"attributes": {"email": "planted"}}},
        }
        rules = Rules(drop=("payment.card*",), mask=("token",))
        for topic in ("otlp_logs", "faro-events", "sentry-envelopes"):
            value, _ = self.kept(rules, topic, orjson.dumps(body), None)
            assert value and b"planted" not in value and b"secret" not in value and b"stays" in value

    def test_a_users_id_stays_an_id_in_another_format(self) -> None:
        body = orjson.dumps({"user": {"id": "u"}, "a": [{"key": "user.id", "value": {"stringValue": "u"}}]})
        assert self.kept(Rules(emails="mask"), "otlp_logs", body, None)[0] is body
        value, _ = self.kept(Rules(user_id="hash"), "otlp_logs", body, None)
        assert value
        made = orjson.loads(value)
        assert made["user"]["id"] == made["a"][0]["value"]["stringValue"] and is_hashed(made["user"]["id"])

    @pytest.mark.parametrize("topic", ["otlp_logs", "faro-events", "sentry-envelopes", "measure-events"])
    def test_where_the_app_is_not_known_the_rules_of_all_apps_hold(self, topic: str) -> None:
        privacy = Privacy(
            Rules(keep=("user.email", "user.name")),
            {
                "org.example.shop": Rules(
                    keep=("user.email",), drop=("payment.*",), hash=("card", "both"), user_id="hash"
                ),
                "other": Rules(keep=("user.email",), mask=("phone", "both"), emails="mask", queries="drop"),
            },
        )
        body = {
            "user": {"email": "stays", "name": "planted", "id": "planted"},
            "payment.x": "planted",
            "card": "planted",
            "phone": "planted",
            "both": "planted",
            "text": "planted@example.org",
            "url": "https://example.org/?planted",
        }
        at_edge = Edge(privacy, Samplings(), SECRET)
        value = at_edge.refused(topic, KEY, orjson.dumps(body))
        assert value and b"planted" not in value
        made = orjson.loads(value)
        assert made["user"]["email"] == "stays" and is_hashed(made["card"])
        assert made["both"] == made["phone"] == made["text"] == "***"
        assert at_edge.refused(topic, KEY, b"broken, with a card") is None

    def test_where_the_key_says_the_app_its_rules_hold(self) -> None:
        shop, none = Rules(drop=("card",)), Rules()
        at_edge = Edge(Privacy(none, {"shop": shop, "abcde": shop, "none": none}), Samplings(), SECRET)
        body = b'{"data":{"card":"planted"}}'
        for key, is_kept in ((b"abcde/D", False), (b"none/D", True), (b"none", False), (None, False)):
            value = at_edge.refused("embrace-events", key, body)
            assert value and (b"planted" in value) == is_kept, key
        # An app that its body names is another one.
        value = at_edge.refused("embrace-events", b"none/D", b'{"app_bundle_id":"shop","card":"planted"}')
        assert value and b"planted" not in value
        for topic, key, app, is_kept in (
            ("sdk-events", b"none/device", "none", True),
            ("sdk-events", b"none/device", "shop", False),
            ("sdk-events", b"shop/device", "none", False),
            ("sdk-events", b"none/device", None, True),
            ("native-events", b"none/device", "none", True),
            ("native-events", b"none/device", None, False),
        ):
            bad = {**envelope(attributes={"card": "planted"}), "app_id": app, "v": 9}
            value = at_edge.refused(topic, key, orjson.dumps(bad))
            assert value and (b"planted" in value) == is_kept, (topic, key, app)

    def test_a_field_of_the_user_that_nobody_knows_is_looked_at_too(self) -> None:
        bad = {**envelope(user={"id": "u", "email": "planted"}), "v": 9}
        value, _ = self.kept(Rules(), "sdk-events", orjson.dumps(bad))
        assert value and b"planted" not in value


@pytest.mark.parametrize("events", ["-1", "1.5", "true", '"x"', "{}", '{"a": 1}', "null"])
def test_events_that_are_no_list_are_refused_for_that_under_any_rules(events: str) -> None:
    value = f'{{"v": 1, "app_id": "a", "device_id": "d", "events": {events}}}'.encode()
    edge = Edge(Privacy(by_app={"own": Rules(drop=("x",))}), Samplings())
    plain = native.decode(value, b"a/d", 1_767_600_000_000)
    assert isinstance(plain, Rejected) and plain.event_index is None
    assert native.decode(value, b"a/d", 1_767_600_000_000, edge.cleaner_of(b"a/d")) == plain
    assert native.decode(value, b"a/d", 1_767_600_000_000, edge.cleaner_of(b"own/d")) == plain
