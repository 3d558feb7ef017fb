"""The line that a person reads of an event, where the SDK's own names stand for it."""

from __future__ import annotations

from tests.dashboard.stage import envelope, staged

NOW_MS = 1_742_296_591_764
SWITCH = "com.google.android.material.switchmaterial.SwitchMaterial"
LINES: dict[str, tuple[str, dict[str, str]]] = {
    "lifecycle_activity created CheckoutActivity": (
        "lifecycle_activity",
        {
            "lifecycle_activity.type": "created",
            "lifecycle_activity.class_name": "org.shop.pay.CheckoutActivity",
        },
    ),
    "lifecycle_swift_ui on_appear DetailListView": (
        "lifecycle_swift_ui",
        {"lifecycle_swift_ui.type": "on_appear", "lifecycle_swift_ui.class_name": "DetailListView"},
    ),
    "lifecycle_fragment": ("lifecycle_fragment", {}),
    "gesture_scroll left _UIQueuingScrollView": (
        "gesture_scroll",
        {"gesture_scroll.direction": "left", "gesture_scroll.target": "_UIQueuingScrollView"},
    ),
    "warm_launch MainActivity": (
        "warm_launch",
        {"warm_launch.launched_activity": "org.shop.app.MainActivity"},
    ),
    "custom added to the cart": ("custom", {"custom.name": "added to the cart"}),
    "network_change to wifi": ("network_change", {"network_change.network_type": "wifi"}),
    "trim_memory TRIM_MEMORY_UI_HIDDEN": ("trim_memory", {"trim_memory.level": "TRIM_MEMORY_UI_HIDDEN"}),
    "cpu_usage 0.1 %": ("cpu_usage", {"cpu_usage.percentage_usage": "0.09999999999999999"}),
    "cpu_usage": ("cpu_usage", {}),
    "bug_report it hangs": ("bug_report", {"bug_report.description": "it hangs"}),
    "tap SwitchMaterial #leak": ("app.widget.click", {"app.widget.name": SWITCH, "app.widget.id": "leak"}),
    "tap SwitchMaterial": ("app.widget.click", {"app.widget.name": SWITCH}),
    "tap Pay 3.50 now": ("app.widget.click", {"app.widget.name": "Pay 3.50 now"}),
    "tap pay": ("app.widget.click", {"app.widget.id": "pay"}),
    "span checkout, 101 ms": ("span", {"span.name": "checkout", "duration_ms": "101.4"}),
    "span flicker, 0.4 ms": ("span", {"span.name": "flicker", "duration_ms": "0.4"}),
    "span 7 ms": ("span", {"duration_ms": "7"}),
    "span upload": ("span", {"span.name": "upload", "duration_ms": "soon"}),
    "span": ("span", {}),
    "span.started boot": ("span.started", {"span.name": "boot"}),
    "app.jank slow frames": ("app.jank", {"app.jank.type": "slow"}),
}


def test_lines_say_what_an_event_is_about(database_url: str) -> None:
    events = [
        {"id": f"e{place}", "name": name, "time": NOW_MS + place, "attributes": attributes}
        for place, (name, attributes) in enumerate(LINES.values())
    ]
    with staged(database_url) as stage:
        stage.put([envelope(events, app="org.example.app", device="d", at_ms=NOW_MS + 1_000)])
        (session,) = stage.query("SELECT session_id FROM sessions")
        found = stage.query(
            "SELECT what FROM session_timeline(session_id = {id:UUID})", id=session["session_id"]
        )
    assert [row["what"] for row in found] == list(LINES)
