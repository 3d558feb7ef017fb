"""The definition of a session as examples, worked by hand from the page, for the oracle and for the fold.

An example is its name, its events in order of arrival (`id@seconds kind key=value …`), then each session:
`= its events | start reason, start | end reason, end | whatever is not the default`. The default is a
foreground session of a stitched session that takes all from the first one on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest

from pipeline.domain.event import COUNTERS, Event, Kind, make_event
from pipeline.domain.fold import sessions
from pipeline.domain.policy import Policy
from pipeline.domain.session import session_id as domain_session_id
from tests.support.oracle import oracle_session_id, oracle_sessions
from tests.support.session_dicts import session_dict

APP, DEVICE = "org.example.app", "device-1"

# No two bounds alike, so that none can stand for another.
POLICY = Policy(
    launch_grace_ms=5_000,
    exit_grace_ms=7_000,
    inactivity_timeout_ms=60_000,
    stitch_gap_ms=90_000,
    max_duration_ms=300_000,
    stitch_max_duration_ms=400_000,
    idle_timeout_ms=60_000,
)
POLICIES = {
    "": POLICY,
    "policy: long grace": replace(POLICY, exit_grace_ms=100_000),
    "policy: short duration": replace(POLICY, max_duration_ms=3_000),
}
NOT_QUIET = "report: not quiet"

ORDER_AND_DUPLICATES = """
arrival order has no say and a duplicate changes nothing
    c@20 background; b@10 activity; a@0 launch; b@10 activity; c@20 background
    = a b c | launch 0 | background 20 | cold

of two events under one id the one seen first counts
    a@0 foreground; b@5 activity; b@3 crash
    = a b | foreground 0 | inactivity 5

of two events under one id the one seen first counts, be it the later one
    a@0 foreground; b@5 crash; b@3 activity
    = a b | foreground 0 | crash 5

rank orders the events of one millisecond before seq and id do
    a@10 exit reason=crash; b@10 crash seq=1; c@10 background seq=2; d@10 activity seq=3;
    e@10 launch seq=4; f@10 foreground seq=5
    = f e d c b a | foreground 10 | background 10 | cold exit=crash

seq orders what has one rank: background first
    a@0 foreground; b@10 session_end seq=2; c@10 background seq=1
    = a c b | foreground 0 | background 10

seq orders what has one rank: session_end first
    a@0 foreground; b@10 background seq=2; c@10 session_end seq=1
    = a c b | foreground 0 | manual 10

id orders what has one rank and seq: crash, exception and anr share theirs
    a@0 foreground; d@10 crash; c@10 exception; b@10 anr
    = a b c d | foreground 0 | anr 10
"""

ONE_MILLISECOND = """
a launch is absorbed by a session that had one
    a@0 launch; b@0 launch
    = a b | launch 0 | inactivity 0 | cold

a foreground is absorbed though the SDK session ids differ
    a@0 foreground client=s1; b@0 foreground client=s2
    = a b | foreground 0 | inactivity 0 | client=s1

a first launch that is absorbed sets cold_start and nothing else
    a@0 activity client=s1; b@10 activity client=s2; c@12 foreground; d@12 launch
    = a | implicit 0 | superseded 0 | client=s1
    = b c d | foreground 10 | inactivity 12 | cold client=s2

an activity joins the open session though the SDK session ids differ
    a@0 activity client=s1; b@10 activity; c@10 activity client=s2
    = a b c | implicit 0 | inactivity 10 | client=s1

an activity joins the open session though max_duration is over
    a@0 activity; b@4 foreground; c@4 activity; d@5 activity
    policy: short duration
    = a b c | foreground 0 | max_duration 4
    = d | continuation 5 | inactivity 5

with none open prev takes an activity though the SDK session ids differ
    a@0 foreground client=s1; b@10 background; c@14 activity; d@14 activity client=s2
    = a b c d | foreground 0 | background 10 | client=s1

with none open prev takes a crash long after its end, and the app's state is set
    a@0 foreground; b@100 background; c@100 crash; d@110 activity
    = a b c | foreground 0 | crash 0
    = d | implicit 110 | inactivity 110 | stitched=d/1

with none open prev takes a background that tells first of where the app is
    a@0 foreground; b@10 session_end seq=1; c@10 background seq=2; d@110 activity
    = a b c | foreground 0 | manual 10
    = d | background 110 | inactivity 110 | state=background stitched=d/1

with none open prev takes an exit, after which nothing is known of where the app is
    a@0 foreground; b@10 background; c@10 exit reason=crash; d@110 activity
    = a b c | foreground 0 | background 10 | exit=crash
    = d | implicit 110 | inactivity 110 | stitched=d/1

with none open prev takes a background long after its end, and the app's state is set
    a@0 foreground; b@10 background; c@500 session_end seq=1; d@500 background seq=2; e@510 activity
    = a b c d | foreground 0 | background 10
    = e | background 510 | inactivity 510 | state=background stitched=e/1

with none open prev takes an exit
    a@0 foreground; b@10 crash; c@10 exit reason=out_of_memory
    = a b c | foreground 0 | crash 10 | exit=out_of_memory
"""

TIME_AND_IDENTITY = """
a gap of exactly inactivity_timeout does not end
    a@0 foreground; b@60 activity
    = a b | foreground 0 | inactivity 60

a gap longer than inactivity_timeout ends at the last event
    a@0 foreground; b@10 activity; c@70.001 activity
    = a b | foreground 0 | inactivity 10
    = c | continuation 70.001 | inactivity 70.001

inactivity comes before superseded
    a@0 foreground client=s1; b@61 activity client=s2
    = a | foreground 0 | inactivity 0 | client=s1
    = b | continuation 61 | inactivity 61 | client=s2

an activity at max_duration ends the session at its last event
    a@0 foreground; b@60 activity; c@120 activity; d@180 activity; e@240 activity; f@299.999 activity; g@300
    activity
    = a b c d e f | foreground 0 | max_duration 299.999
    = g | continuation 300 | inactivity 300

max_duration comes before superseded
    a@0 foreground client=s1; b@1 activity; c@3 activity client=s2
    policy: short duration
    = a b | foreground 0 | max_duration 1 | client=s1
    = c | continuation 3 | inactivity 3 | client=s2

only an activity ends by max_duration: a background is the end itself
    a@0 foreground; b@60 activity; c@120 activity; d@180 activity; e@240 activity; f@300 background
    = a b c d e f | foreground 0 | background 300

after max_duration in the background a background session goes on
    a@0 background; b@20 activity; c@23 activity
    policy: short duration
    = a | implicit 0 | background 0
    = b | background 20 | max_duration 20 | state=background
    = c | background 23 | inactivity 23 | state=background

an activity with another SDK session id supersedes
    a@0 foreground client=s1; b@10 activity client=s1; c@12 activity client=s2
    = a b | foreground 0 | superseded 10 | client=s1
    = c | continuation 12 | inactivity 12 | client=s2

an SDK session id that is missing does not differ; the session's is the first one named
    a@0 foreground; b@1 activity client=s1; c@2 activity; d@3 activity client=s2
    = a b c | foreground 0 | superseded 2 | client=s1
    = d | continuation 3 | inactivity 3 | client=s2

only an activity supersedes
    a@0 foreground client=s1; b@10 background client=s2
    = a b | foreground 0 | background 10 | client=s1

superseded in the background: a background session goes on
    a@0 background; b@20 activity client=s1; c@22 activity client=s2
    = a | implicit 0 | background 0
    = b | background 20 | superseded 20 | state=background client=s1
    = c | background 22 | inactivity 22 | state=background client=s2
"""

LAUNCH = """
with none open a launch opens a foreground session, cold start
    a@0 launch; b@10 activity; c@20 background; d@30 launch
    = a b c | launch 0 | background 20 | cold
    = d | launch 30 | inactivity 30 | cold

a launch at launch_grace after an activity is the cold start of its session
    a@0 activity; b@5 launch
    = a b | launch 0 | inactivity 5 | cold

a launch later than launch_grace finds an unclean exit
    a@0 activity; b@3 activity; c@5.001 launch
    = a b | implicit 0 | unclean_exit 3
    = c | launch 5.001 | inactivity 5.001 | cold

a launch after the foreground leaves the start reason
    a@0 foreground; b@2 launch
    = a b | foreground 0 | inactivity 2 | cold

a second launch finds an unclean exit
    a@0 launch; b@2 launch
    = a | launch 0 | unclean_exit 0 | cold
    = b | launch 2 | inactivity 2 | cold

a launch after an activity that was its cold start finds an unclean exit
    a@0 activity; b@2 launch; c@4 launch
    = a b | launch 0 | unclean_exit 2 | cold
    = c | launch 4 | inactivity 4 | cold

a prev that ended as superseded ended as unclean_exit once the launch comes
    a@0 foreground client=s1; b@10 activity client=s2; c@12 launch client=s2
    = a | foreground 0 | unclean_exit 0 | client=s1
    = b c | launch 10 | inactivity 12 | cold client=s2

a prev that ended as max_duration stays so
    a@0 foreground; b@3 activity; c@4 launch
    policy: short duration
    = a | foreground 0 | max_duration 0
    = b c | launch 3 | inactivity 4 | cold

a launch that is no cold start of the open session leaves prev as it is
    a@0 foreground client=s1; b@10 activity client=s2; c@16 launch
    = a | foreground 0 | superseded 0 | client=s1
    = b | continuation 10 | unclean_exit 10 | client=s2
    = c | launch 16 | inactivity 16 | cold

a launch makes a young background session a foreground one, whatever its SDK session id
    a@0 background; b@20 activity client=s1; c@23 launch client=s2
    = a | implicit 0 | background 0
    = b c | launch 20 | inactivity 23 | cold client=s1

a launch closes an older background session as unclean_exit
    a@0 background; b@20 activity; c@30 launch
    = a | implicit 0 | background 0
    = b | background 20 | unclean_exit 20 | state=background
    = c | launch 30 | inactivity 30 | cold

after a launch the app's state is foreground
    a@0 background; b@20 launch; c@21 session_end; d@40 activity
    = a | implicit 0 | background 0
    = b c | launch 20 | manual 21 | cold
    = d | continuation 40 | inactivity 40 | stitched=d/1
"""

FOREGROUND = """
with none open a foreground opens, however soon
    a@0 foreground; b@10 background; c@11 foreground
    = a b | foreground 0 | background 10
    = c | foreground 11 | inactivity 11

a foreground at launch_grace after the launch belongs to the start
    a@0 launch; b@5 foreground
    = a b | launch 0 | inactivity 5 | cold

a foreground later than launch_grace finds an unclean exit
    a@0 launch; b@2 activity; c@5.001 foreground
    = a b | launch 0 | unclean_exit 2 | cold
    = c | foreground 5.001 | inactivity 5.001

activity before a foreground was its prelude
    a@0 activity; b@3 foreground
    = a b | foreground 0 | inactivity 3

what has another SDK session id was no prelude
    a@0 activity client=s1; b@3 foreground client=s2
    = a | implicit 0 | unclean_exit 0 | client=s1
    = b | foreground 3 | inactivity 3 | client=s2

a foreground makes a young background session a foreground one
    a@0 background; b@20 activity; c@25 foreground
    = a | implicit 0 | background 0
    = b c | foreground 20 | inactivity 25

a foreground closes an older background session at its own time
    a@0 background; b@20 activity; c@25.001 foreground
    = a | implicit 0 | background 0
    = b | background 20 | foreground 25.001 | state=background
    = c | foreground 25.001 | inactivity 25.001

after a foreground the app's state is foreground
    a@0 background; b@20 foreground; c@21 session_end; d@40 activity
    = a | implicit 0 | background 0
    = b c | foreground 20 | manual 21
    = d | continuation 40 | inactivity 40 | stitched=d/1
"""

BACKGROUND = """
an open background session takes a background and stays open
    a@0 background; b@20 activity; c@30 background; d@50 activity
    = a | implicit 0 | background 0
    = b c d | background 20 | inactivity 50 | state=background

prev takes a background however late if it ended as inactivity
    a@0 foreground; b@500 background; c@510 activity
    = a b | foreground 0 | inactivity 0
    = c | background 510 | inactivity 510 | state=background stitched=c/1

prev takes a background at exit_grace
    a@0 foreground; b@10 crash; c@17 background
    = a b c | foreground 0 | crash 10

a background later than exit_grace opens an implicit session of no length
    a@0 foreground; b@10 crash; c@17.001 background
    = a b | foreground 0 | crash 10
    = c | implicit 17.001 | background 17.001

exit_grace counts from the end, not from the trailing event
    a@0 foreground; b@10 crash; c@16 activity; d@18 background
    = a b c | foreground 0 | crash 10
    = d | implicit 18 | background 18

with nothing before, a background opens an implicit foreground session of no length
    a@0 background
    = a | implicit 0 | background 0
"""

SESSION_END = """
the open session takes it and ends as manual at its time
    a@0 foreground; b@10 session_end
    = a b | foreground 0 | manual 10

with none open prev takes it however late; its end stays
    a@0 foreground; b@10 background; c@1000 session_end
    = a b c | foreground 0 | background 10

prev takes it after inactivity too
    a@0 foreground; b@100 session_end
    = a b | foreground 0 | inactivity 0

with no prev an implicit session of no length ends as manual; the app's state stays unknown
    a@0 session_end; b@10 activity
    = a | implicit 0 | manual 0
    = b | continuation 10 | inactivity 10 | stitched=b/1

the app's state stays background
    a@0 background; b@20 session_end; c@40 activity
    = a b | implicit 0 | background 0
    = c | background 40 | inactivity 40 | state=background
"""

CRASH = """
the open session takes crash and ends by it
    a@0 foreground; b@10 crash
    = a b | foreground 0 | crash 10

the open session takes exception and ends by it
    a@0 foreground; b@10 exception
    = a b | foreground 0 | exception 10

the open session takes anr and ends by it
    a@0 foreground; b@10 anr
    = a b | foreground 0 | anr 10

an open background session ends by a crash
    a@0 background; b@20 activity; c@30 crash
    = a | implicit 0 | background 0
    = b c | background 20 | crash 30 | state=background

prev takes a crash at exit_grace; an end by background stays
    a@0 foreground; b@10 background; c@17 crash
    = a b c | foreground 0 | background 10

after exit_grace in the background a crash is a background session of no length
    a@0 foreground; b@10 background; c@17.001 crash; d@40 activity
    = a b | foreground 0 | background 10
    = c | implicit 17.001 | crash 17.001 | state=background
    = d | implicit 40 | inactivity 40

with nothing before, an anr is a foreground session of no length
    a@0 anr
    = a | implicit 0 | anr 0

after inactivity an exception is a session of its own
    a@0 foreground; b@61 exception
    = a | foreground 0 | inactivity 0
    = b | implicit 61 | exception 61

within exit_grace an end by inactivity becomes the crash; ended_at stays
    a@0 foreground; b@61 crash
    policy: long grace
    = a b | foreground 0 | crash 0

within exit_grace an end by inactivity becomes the exception
    a@0 foreground; b@61 exception
    policy: long grace
    = a b | foreground 0 | exception 0

within exit_grace an end by inactivity becomes the anr, and no other after it
    a@0 foreground; b@61 anr; c@62 crash
    policy: long grace
    = a b c | foreground 0 | anr 0

after an exception the app's state is unknown
    a@0 background; b@5 exception; c@20 activity
    = a b | implicit 0 | background 0
    = c | implicit 20 | inactivity 20

after an anr the app's state is unknown
    a@0 background; b@5 anr; c@20 activity
    = a b | implicit 0 | background 0
    = c | implicit 20 | inactivity 20
"""

EXIT = """
the open session takes it and ends for its reason at its time
    a@0 launch; b@10 exit reason=out_of_memory; c@30 activity
    = a b | launch 0 | out_of_memory 10 | cold exit=out_of_memory
    = c | implicit 30 | inactivity 30

with none open prev takes it however late; the first reason and an end by background stay
    a@0 foreground; b@10 background; c@1000 exit reason=user_terminated; d@2000 exit reason=other
    = a b c d | foreground 0 | background 10 | exit=user_terminated

an end by inactivity becomes the first reason
    a@0 foreground; b@100 exit reason=anr; c@200 exit reason=other
    = a b c | foreground 0 | anr 0 | exit=anr

with no prev an implicit foreground session of no length
    a@0 exit reason=crash
    = a | implicit 0 | crash 0 | exit=crash

after an exit the app's state is unknown
    a@0 foreground; b@10 background; c@1000 exit reason=other; d@1010 activity
    = a b c | foreground 0 | background 10 | exit=other
    = d | implicit 1010 | inactivity 1010 | stitched=d/1
"""

ACTIVITY = """
with nothing before, an activity opens an implicit foreground session and goes on in it
    a@0 activity; b@10 activity
    = a b | implicit 0 | inactivity 10

an activity at exit_grace trails; ended_at stays
    a@0 foreground; b@10 crash; c@17 activity
    = a b c | foreground 0 | crash 10

later than exit_grace after a crash it opens an implicit session
    a@0 foreground; b@10 crash; c@17.001 activity
    = a b | foreground 0 | crash 10
    = c | implicit 17.001 | inactivity 17.001

later than exit_grace in the background it opens a background session
    a@0 foreground; b@10 background; c@17.001 activity
    = a b | foreground 0 | background 10
    = c | background 17.001 | inactivity 17.001 | state=background

nothing trails a manual end
    a@0 foreground; b@10 session_end; c@11 activity
    = a b | foreground 0 | manual 10
    = c | continuation 11 | inactivity 11 | stitched=c/1

nothing trails an end by inactivity, however long the grace
    a@0 foreground; b@61 activity
    policy: long grace
    = a | foreground 0 | inactivity 0
    = b | continuation 61 | inactivity 61

nothing trails that has another SDK session id
    a@0 foreground client=s1; b@10 background; c@12 activity client=s2
    = a b | foreground 0 | background 10 | client=s1
    = c | background 12 | inactivity 12 | state=background client=s2

a trailing event can give the session its SDK session id
    a@0 foreground; b@10 crash; c@12 activity client=s1; d@13 activity client=s2
    = a b c | foreground 0 | crash 10 | client=s1
    = d | implicit 13 | inactivity 13 | client=s2

resource of the first event, user of the last that names one, counters of all, trailing ones too
    a@0 foreground resource=r1 user=u1 counters=64; b@4 activity resource=r2 user=u2 counters=24; c@10
    background counters=8; d@12 activity user=u3 counters=129; e@13 activity resource=r3
    = a b c d e | foreground 0 | background 10 |
        user=u3 resource=r1 crash_count=1 network_count=2 network_error_count=1 view_count=1 log_error_count=1
"""

QUIET = """
an open session that is not quiet is open
    a@0 foreground; b@10 background; c@20 launch; d@30 activity
    report: not quiet
    = a b | foreground 0 | background 10
    = c d | launch 20 | open 30 | cold

with none open, not quiet changes nothing
    a@0 foreground; b@10 background
    report: not quiet
    = a b | foreground 0 | background 10

no events, no sessions
"""

STITCHED = """
a start at stitch_gap after the end joins
    a@0 foreground; b@10 background; c@100 foreground
    = a b | foreground 0 | background 10
    = c | foreground 100 | inactivity 100 | stitched=a/2

a start later than stitch_gap begins a new one
    a@0 foreground; b@10 background; c@100.001 foreground
    = a b | foreground 0 | background 10
    = c | foreground 100.001 | inactivity 100.001 | stitched=c/1

the gap counts from the end, not from a trailing event
    a@0 foreground; b@10 background; c@16 activity; d@101 foreground
    = a b c | foreground 0 | background 10
    = d | foreground 101 | inactivity 101 | stitched=d/1

a member starts less than stitch_max_duration after the first
    a@0 foreground; b@60 background; c@140 foreground; d@200 background; e@280 foreground; f@340 background;
    g@399.999 foreground
    = a b | foreground 0 | background 60
    = c d | foreground 140 | background 200 | stitched=a/2
    = e f | foreground 280 | background 340 | stitched=a/3
    = g | foreground 399.999 | inactivity 399.999 | stitched=a/4

at stitch_max_duration a new one begins, and counts from 1
    a@0 foreground; b@60 background; c@140 foreground; d@200 background; e@280 foreground; f@340 background;
    g@400 foreground; h@410 background; i@420 foreground
    = a b | foreground 0 | background 60
    = c d | foreground 140 | background 200 | stitched=a/2
    = e f | foreground 280 | background 340 | stitched=a/3
    = g h | foreground 400 | background 410 | stitched=g/1
    = i | foreground 420 | inactivity 420 | stitched=g/2

background members do not move the anchor
    a@0 foreground; b@10 background; c@30 activity; d@80 activity; e@101 foreground
    = a b | foreground 0 | background 10
    = c d | background 30 | foreground 101 | state=background stitched=a/2
    = e | foreground 101 | inactivity 101 | stitched=e/1

while no member is a foreground one, the anchor is the end of any
    a@0 background; b@200 activity; c@250 activity; d@340 foreground
    = a | implicit 0 | background 0
    = b c | background 200 | inactivity 250 | state=background stitched=b/1
    = d | foreground 340 | inactivity 340 | stitched=b/2

while no member is a foreground one, stitch_gap counts from the latest end
    a@0 background; b@200 activity; c@250 activity; d@340.001 foreground
    = a | implicit 0 | background 0
    = b c | background 200 | inactivity 250 | state=background stitched=b/1
    = d | foreground 340.001 | inactivity 340.001 | stitched=d/1

while no member is a foreground one, the anchor is the latest of the ends
    a@0 background; b@200 activity; c@270 activity; d@340 foreground
    = a | implicit 0 | background 0
    = b | background 200 | inactivity 200 | state=background stitched=b/1
    = c | background 270 | inactivity 270 | state=background stitched=b/2
    = d | foreground 340 | inactivity 340 | stitched=b/3

a background session that became a foreground one anchors
    a@0 background; b@200 activity; c@203 foreground; d@210 background; e@230 activity; f@300 foreground
    = a | implicit 0 | background 0
    = b c d | foreground 200 | background 210 | stitched=b/1
    = e | background 230 | inactivity 230 | state=background stitched=b/2
    = f | foreground 300 | inactivity 300 | stitched=b/3

after a manual end a new one begins, however near
    a@0 foreground; b@10 session_end; c@11 launch; d@20 background; e@30 foreground
    = a b | foreground 0 | manual 10
    = c d | launch 11 | background 20 | cold stitched=c/1
    = e | foreground 30 | inactivity 30 | stitched=c/2

an unclean exit anchors at its last event
    a@0 foreground; b@10 activity; c@30 launch
    = a b | foreground 0 | unclean_exit 10
    = c | launch 30 | inactivity 30 | cold stitched=a/2
"""

TABLES = (
    ORDER_AND_DUPLICATES,
    ONE_MILLISECOND,
    TIME_AND_IDENTITY,
    LAUNCH,
    FOREGROUND,
    BACKGROUND,
    SESSION_END,
    CRASH,
    EXIT,
    ACTIVITY,
    QUIET,
    STITCHED,
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Example:
    """One example of the tables."""

    name: str
    events: list[Event]
    policy: Policy
    quiet: bool
    expected: list[Row]


def read_examples(table: str) -> Iterator[Example]:
    """The examples of a table."""
    for block in table.strip().split("\n\n"):
        name, *lines = block.splitlines()
        given, *sessions = [" ".join(part.split()) for part in "\n".join(["", *lines]).split("\n    = ")]
        policy = next((words for words in POLICIES if words and words in given), "")
        not_quiet = NOT_QUIET if NOT_QUIET in given else ""
        events = given.replace(policy, "").replace(not_quiet, "")
        yield Example(
            name,
            [read_event(text.split()) for text in events.split(";") if text.strip()],
            POLICIES[policy],
            not not_quiet,
            [read_session(text, place, sessions[0].split()[0]) for place, text in enumerate(sessions, 1)],
        )


def read_event(words: list[str]) -> Event:
    """An event from `id@seconds kind key=value …`."""
    place, kind, *pairs = words
    id, at = place.split("@")
    values = dict(pair.split("=") for pair in pairs)
    event = make_event(
        _ms(at),
        Kind[kind.upper()],
        id,
        seq=int(values.pop("seq", "0")),
        client_session_id=values.pop("client", ""),
        exit_reason=values.pop("reason", ""),
        counters=int(values.pop("counters", "0")),
        resource=values.pop("resource", "{}"),
        user=values.pop("user", ""),
    )
    assert not values, f"unknown in an example: {values}"
    return event


def read_session(text: str, place: int, first_event_id: str) -> Row:
    """An expected session in the oracle's columns; `place` counts from 1."""
    events, start, end, others = [part.strip() for part in f"{text} |".split("|")][:4]
    ids = events.split()
    (start_reason, started_at), (end_reason, ended_at) = start.split(), end.split()
    is_open = end_reason == "open"
    values = dict(word.replace("cold", "cold=yes").split("=") for word in others.split())
    stitched_first, stitched_index = values.pop("stitched", f"{first_event_id}/{place}").split("/")
    row: Row = {
        "session_id": oracle_session_id(APP, DEVICE, ids[0]),
        "status": "open" if is_open else "closed",
        "state": values.pop("state", "foreground"),
        "start_reason": start_reason,
        "end_reason": "" if is_open else end_reason,
        "exit_reason": values.pop("exit", ""),
        "cold_start": values.pop("cold", "no") == "yes",
        "started_at_ms": _ms(started_at),
        "ended_at_ms": _ms(ended_at),
        "duration_ms": _ms(ended_at) - _ms(started_at),
        "client_session_id": values.pop("client", ""),
        "stitched_session_id": oracle_session_id(APP, DEVICE, stitched_first),
        "stitched_index": int(stitched_index),
        "user": values.pop("user", ""),
        "resource": values.pop("resource", "{}"),
        "event_count": len(ids),
        "event_ids": ids,
    }
    row |= {counter: int(values.pop(counter, "0")) for counter in COUNTERS}
    assert not values, f"unknown in an example: {values}"
    return row


def _ms(seconds: str) -> int:
    return round(float(seconds) * 1000)


def by_oracle(events: list[Event], policy: Policy, quiet: bool) -> list[Row]:
    """The oracle's sessions."""
    return oracle_sessions(APP, DEVICE, events, policy, quiet=quiet)


def by_fold(events: list[Event], policy: Policy, quiet: bool) -> list[Row]:
    """The package's sessions in the oracle's columns, without `event_ids`."""
    return [session_dict(APP, DEVICE, s) for s in sessions(APP, DEVICE, events, policy, quiet=quiet)]


def session_id(first_event_id: str) -> UUID:
    """The package's id of a session on the device of the examples."""
    return domain_session_id(APP, DEVICE, first_event_id)


EXAMPLES = [example for table in TABLES for example in read_examples(table)]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_example_by_oracle(example: Example) -> None:
    assert by_oracle(example.events, example.policy, example.quiet) == example.expected


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_example_by_fold(example: Example) -> None:
    expected = [{name: row[name] for name in row if name != "event_ids"} for row in example.expected]
    assert by_fold(example.events, example.policy, example.quiet) == expected


# From coreutils, then version and variant set by hand: printf 'org.example.app\0device-1\0e1' | b2sum -l 128
SESSION_IDS = [
    ("e1", "7ce0da11-226e-8610-8ced-9e0c4bd29b21"),  # 7ce0da11226e06108ced9e0c4bd29b21
    ("e4", "0144c6ad-903e-8133-a177-06ee89f6d304"),  # 0144c6ad903ee133617706ee89f6d304
    ("ü", "327c15b3-271c-8221-a2ed-c0bf2d369566"),  # 327c15b3271c122162edc0bf2d369566
]


@pytest.mark.parametrize(("first_event_id", "expected"), SESSION_IDS)
def test_session_id(first_event_id: str, expected: str) -> None:
    assert oracle_session_id(APP, DEVICE, first_event_id) == expected
    assert str(session_id(first_event_id)) == expected


def test_examples_have_names_of_their_own() -> None:
    assert len({example.name for example in EXAMPLES}) == len(EXAMPLES)


def test_unless_asked_otherwise_the_open_session_is_reported_as_quiet() -> None:
    (example, *_) = [each for each in EXAMPLES if not each.quiet]
    assert [session.is_open for session in sessions(APP, DEVICE, example.events, example.policy)][-1] is False
    assert sessions(APP, DEVICE, example.events, example.policy, quiet=False)[-1].is_open
