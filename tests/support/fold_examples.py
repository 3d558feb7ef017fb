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

from pipeline.domain.event import COUNTERS, AppState, Event, Kind, make_event
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

a passive event comes after all else of its millisecond
    a@10 passive; b@10 exit reason=crash seq=1; c@10 activity seq=2; d@10 foreground seq=3
    = d c b a | foreground 10 | crash 10 | exit=crash

active has the rank of foreground
    a@10 launch; b@10 active seq=1; c@10 foreground seq=2
    = b c a | foreground 10 | inactivity 10 | cold
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

an active beside the foreground joins though its SDK session id would supersede
    a@0 foreground client=s1; b@10 active client=s1; c@10 active client=s2
    = a b c | foreground 0 | inactivity 10 | client=s1

an active that is a foreground is absorbed
    a@0 background; b@20 foreground seq=1; c@20 active seq=2; d@20 launch
    = a | implicit 0 | background 0
    = b c d | foreground 20 | inactivity 20 | cold

an absorbed foreground leaves a background session what it is, and the app is in front
    a@0 foreground; b@10 session_end; c@20 active stated=background; d@20 foreground; e@81 activity
    = a b | foreground 0 | manual 10
    = c d | background 20 | inactivity 20 | state=background stitched=c/1
    = e | continuation 81 | inactivity 81 | stitched=c/2

an absorbed launch that states the background says so of the app, not of the session
    a@0 foreground; b@0 launch stated=background; c@1 session_end; d@20 activity
    = a b c | foreground 0 | manual 1 | cold
    = d | background 20 | inactivity 20 | state=background stitched=d/1

a crash that names another session ends nothing in this millisecond either
    a@0 foreground client=s1; b@10 background; c@20 foreground client=s2; d@20 crash client=s1 counters=1
    = a b | foreground 0 | background 10 | client=s1 crash_count=1
    = c d | foreground 20 | inactivity 20 | client=s2

with none open prev takes a session_end, and the app's state stays
    a@0 foreground; b@10 background seq=1; c@10 session_end seq=2; d@30 activity
    = a b c | foreground 0 | background 10
    = d | background 30 | inactivity 30 | state=background

after an absorbed foreground the app is in front, whatever it states
    a@0 foreground; b@0 foreground stated=background; c@60.001 activity
    = a b | foreground 0 | inactivity 0
    = c | continuation 60.001 | inactivity 60.001

after an absorbed launch the app is in front
    a@0 foreground; b@0 launch; c@60.001 active
    = a b | foreground 0 | inactivity 0 | cold
    = c | continuation 60.001 | inactivity 60.001
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

a session goes on with the first SDK session id that it meets
    a@200 activity; b@250 activity client=s1
    = a b | implicit 200 | inactivity 250 | client=s1
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

a launch that states the background opens a background session
    a@0 launch stated=background; b@10 activity
    = a b | launch 0 | inactivity 10 | cold state=background

after it the app's state is background
    a@0 launch stated=background; b@61 activity
    = a | launch 0 | inactivity 0 | cold state=background
    = b | background 61 | inactivity 61 | state=background

it closes what is open
    a@0 foreground; b@10 launch stated=background
    = a | foreground 0 | unclean_exit 0
    = b | launch 10 | inactivity 10 | cold state=background

the foreground at launch_grace after it makes its session a foreground one
    a@0 launch stated=background; b@5 foreground
    = a b | launch 0 | inactivity 5 | cold

a foreground later than launch_grace after it is a session of its own
    a@0 launch stated=background; b@5.001 foreground
    = a | launch 0 | foreground 5.001 | cold state=background
    = b | foreground 5.001 | inactivity 5.001

as a cold start it leaves a young background session in the background
    a@0 background; b@20 activity; c@23 launch stated=background
    = a | implicit 0 | background 0
    = b c | launch 20 | inactivity 23 | cold state=background

as a cold start it leaves a young foreground session what it is, and the app's state is background
    a@0 activity; b@2 launch stated=background; c@3 session_end; d@20 activity
    = a b c | launch 0 | manual 3 | cold
    = d | background 20 | inactivity 20 | state=background stitched=d/1

as a cold start it too finds that a superseded prev ended unclean
    a@0 foreground client=s1; b@10 activity client=s2; c@12 launch client=s2 stated=background
    = a | foreground 0 | unclean_exit 0 | client=s1
    = b c | launch 10 | inactivity 12 | cold client=s2

a launch that states the foreground is one that states nothing
    a@0 background; b@20 activity; c@23 launch stated=foreground; d@24 session_end; e@40 activity
    = a | implicit 0 | background 0
    = b c d | launch 20 | manual 24 | cold
    = e | continuation 40 | inactivity 40 | stitched=e/1

after a launch the app is in front: active is an activity
    a@0 launch; b@10 session_end; c@12 active
    = a b | launch 0 | manual 10 | cold
    = c | continuation 12 | inactivity 12 | stitched=c/1
"""

FOREGROUND = """
with none open a foreground opens, if it comes later than flicker_grace
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

with no prev the implicit session is a foreground one, whatever the event states
    a@0 session_end stated=background; b@10 activity
    = a | implicit 0 | manual 0
    = b | continuation 10 | inactivity 10 | stitched=b/1
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

prev takes a crash within exit_grace though the SDK session ids differ
    a@0 foreground client=s1; b@10 background; c@17 crash client=s2
    = a b c | foreground 0 | background 10 | client=s1

prev takes a crash of its own SDK session id however late; an end by background stays
    a@0 foreground client=s1; b@10 background; c@1000 crash client=s1 counters=1
    = a b c | foreground 0 | background 10 | client=s1 crash_count=1

an end by inactivity becomes the crash of its own SDK session id, and none after it
    a@0 foreground client=s1; b@1000 exception client=s1; c@2000 anr client=s1
    = a b c | foreground 0 | exception 0 | client=s1

an SDK session id that is missing is equal to none
    a@0 foreground client=s1; b@10 background; c@17.001 crash
    = a b | foreground 0 | background 10 | client=s1
    = c | implicit 17.001 | crash 17.001 | state=background

neither are two that are missing
    a@0 foreground; b@10 session_end; c@17.001 crash
    = a b | foreground 0 | manual 10
    = c | implicit 17.001 | crash 17.001 | stitched=c/1

five crashes of one SDK session are in its session
    a@0 launch client=s1; b@20 crash client=s1 counters=1; c@80 crash client=s1 counters=1;
    d@140 crash client=s1 counters=1
    = a b c d | launch 0 | crash 20 | cold client=s1 crash_count=3

with none open a crash that states the background is a background session
    a@0 crash stated=background; b@20 activity
    = a | implicit 0 | crash 0 | state=background
    = b | implicit 20 | inactivity 20

with none open a crash that states the foreground is a foreground session
    a@0 background; b@20 anr stated=foreground
    = a | implicit 0 | background 0
    = b | implicit 20 | anr 20

where a session is open what a crash states says nothing
    a@0 foreground; b@10 crash stated=background
    = a b | foreground 0 | crash 10
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

prev takes it though the SDK session ids differ
    a@0 foreground client=s1; b@100 exit reason=anr client=s2
    = a b | foreground 0 | anr 0 | client=s1 exit=anr

the open session's exit_reason is set even if it had one
    a@0 foreground; b@10 background; c@10.1 exit reason=other; d@10.2 background; e@10.7 foreground; f@20 exit
    reason=crash
    = a b c d e f | foreground 0 | crash 20 | exit=crash
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

resource of the first event, counters of all, trailing ones too
    a@0 foreground resource=r1 user=u1 counters=64; b@4 activity resource=r2 user=u2 counters=24; c@10
    background counters=8; d@12 activity user=u3 counters=129; e@13 activity resource=r3
    = a b c d e | foreground 0 | background 10 |
        user=u3 user_id=u3 users=u1+u2+u3 resource=r1
        crash_count=1 network_count=2 network_error_count=1 view_count=1 log_error_count=1

one that states the background opens a background session, and so does the next
    a@0 activity stated=background; b@61 activity
    = a | background 0 | inactivity 0 | state=background
    = b | background 61 | inactivity 61 | state=background

one that states the foreground opens a foreground session, and so does the next
    a@0 background; b@20 activity stated=foreground; c@81 activity
    = a | implicit 0 | background 0
    = b | implicit 20 | inactivity 20
    = c | continuation 81 | inactivity 81

after a manual end one that states the background opens a background session
    a@0 foreground; b@10 session_end; c@11 activity stated=background
    = a b | foreground 0 | manual 10
    = c | background 11 | inactivity 11 | state=background stitched=c/1

what one states that joins says nothing
    a@0 foreground; b@10 activity stated=background; c@71 activity
    = a b | foreground 0 | inactivity 10
    = c | continuation 71 | inactivity 71

what one states that trails says nothing
    a@0 foreground; b@10 background; c@11 activity stated=foreground; d@30 activity
    = a b c | foreground 0 | background 10
    = d | background 30 | inactivity 30 | state=background
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

an open session is open until last; passive events say nothing of it
    a@0 launch; b@10 activity; c@20 passive
    report: not quiet
    = a b c | launch 0 | open 10 | cold

a session that was reopened is open
    a@0 foreground; b@10 background; c@10.5 foreground
    report: not quiet
    = a b c | foreground 0 | open 10.5
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

of a session that was reopened the later end counts
    a@0 foreground; b@10 background; c@10.7 foreground; d@60 background; e@150 foreground
    = a b c d | foreground 0 | background 60
    = e | foreground 150 | inactivity 150

an end that becomes another one does not move the anchor
    a@0 foreground client=s1; b@10 activity client=s2; c@50 crash client=s1; d@100.001 foreground client=s3
    = a | foreground 0 | crash 0 | client=s1
    = b c | continuation 10 | inactivity 10 | client=s2
    = d | foreground 100.001 | inactivity 100.001 | client=s3 stitched=d/1
"""

PASSIVE = """
the open session takes a passive event: it counts, and last stays
    a@0 foreground; b@30 passive counters=32; c@60.001 activity
    = a b | foreground 0 | inactivity 0 | tap_count=1
    = c | continuation 60.001 | inactivity 60.001

the open session takes a passive event after any silence
    a@0 foreground; b@1000 passive
    = a b | foreground 0 | inactivity 0

it does not give the session its SDK session id
    a@0 foreground; b@1 passive client=s1; c@2 activity client=s2
    = a b c | foreground 0 | inactivity 2 | client=s2

it supersedes nothing, and its SDK session id is not known for it
    a@0 foreground client=s1; b@1 passive client=s2; c@2 activity client=s2
    = a b | foreground 0 | superseded 0 | client=s1
    = c | continuation 2 | inactivity 2 | client=s2

it ends nothing at max_duration
    a@0 foreground; b@4 passive; c@5 background
    policy: short duration
    = a b c | foreground 0 | background 5

with none open prev takes it however late, and not in a way that a grace counts from
    a@0 foreground; b@10 background; c@16 passive; d@17.001 activity; e@18 background
    = a b c | foreground 0 | background 10
    = d e | background 17.001 | inactivity 18 | state=background

prev takes it after a manual end too
    a@0 foreground; b@10 session_end; c@5000 passive; d@5001 foreground
    = a b c | foreground 0 | manual 10
    = d | foreground 5001 | inactivity 5001 | stitched=d/1

before the first session it belongs to none
    a@0 passive user=u1 resource=r1; b@5 activity
    = b | implicit 5 | inactivity 5

passive events alone are no session
    a@0 passive; b@1 passive

what it states says nothing
    a@0 background; b@20 passive stated=foreground; c@40 activity
    = a b | implicit 0 | background 0
    = c | background 40 | inactivity 40 | state=background

it does not keep a window from giving way to another
    a@0 foreground; b@10 background; c@10.3 passive; d@10.7 foreground
    = a b c d | foreground 0 | inactivity 10.7
"""

ACTIVE = """
with nothing before, active is a foreground
    a@0 active; b@10 activity
    = a b | foreground 0 | inactivity 10

in the background active is a foreground
    a@0 background; b@20 active; c@21 session_end; d@40 activity
    = a | implicit 0 | background 0
    = b c | foreground 20 | manual 21
    = d | continuation 40 | inactivity 40 | stitched=d/1

active makes a young background session a foreground one
    a@0 background; b@20 activity; c@25 active
    = a | implicit 0 | background 0
    = b c | foreground 20 | inactivity 25

active closes an older background session at its own time
    a@0 background; b@20 activity; c@25.001 active
    = a | implicit 0 | background 0
    = b | background 20 | foreground 25.001 | state=background
    = c | foreground 25.001 | inactivity 25.001

active after a launch in the background shows it
    a@0 launch stated=background; b@2 active
    = a b | launch 0 | inactivity 2 | cold

beside the foreground active is an activity, where a second foreground finds an unclean exit
    a@0 foreground; b@10 active; c@20 foreground
    = a b | foreground 0 | unclean_exit 10
    = c | foreground 20 | inactivity 20

in an implicit foreground session active is an activity
    a@0 activity; b@10 active
    = a b | implicit 0 | inactivity 10

with none open, but the app in front, active is an activity
    a@0 foreground; b@10 session_end; c@12 active
    = a b | foreground 0 | manual 10
    = c | continuation 12 | inactivity 12 | stitched=c/1

in a background session, but the app in front, active is an activity
    a@0 foreground; b@10 session_end; c@20 active stated=background; d@20 foreground; e@22 active
    = a b | foreground 0 | manual 10
    = c d e | background 20 | inactivity 22 | state=background stitched=c/1

after inactivity in the foreground active is an activity
    a@0 foreground; b@60.001 active
    = a | foreground 0 | inactivity 0
    = b | continuation 60.001 | inactivity 60.001

a foreground session that is over does not make it one
    a@0 activity; b@60.001 active
    = a | implicit 0 | inactivity 0
    = b | foreground 60.001 | inactivity 60.001

as an activity it ends by max_duration
    a@0 foreground; b@2 activity; c@3 active
    policy: short duration
    = a b | foreground 0 | max_duration 2
    = c | continuation 3 | inactivity 3

as a foreground it does not
    a@0 background; b@20 activity; c@23 active
    policy: short duration
    = a | implicit 0 | background 0
    = b c | foreground 20 | inactivity 23

as an activity it supersedes
    a@0 foreground client=s1; b@10 active client=s2
    = a | foreground 0 | superseded 0 | client=s1
    = b | continuation 10 | inactivity 10 | client=s2

as a foreground it reopens
    a@0 foreground; b@10 background; c@10.7 active
    = a b c | foreground 0 | inactivity 10.7
"""

WINDOWS = """
a background at flicker_grace after another window was shown is of the window that was left
    a@0 foreground client=s1; b@10 active client=s1; c@10.7 background client=s1; d@30 activity
    = a b c d | foreground 0 | inactivity 30 | client=s1

a background later than that is the app's
    a@0 foreground client=s1; b@10 active client=s1; c@10.701 background client=s1; d@30 activity
    = a b c | foreground 0 | background 10.701 | client=s1
    = d | background 30 | inactivity 30 | state=background

in one millisecond too
    a@0 foreground client=s1; b@10 active client=s1; c@10 background client=s1; d@30 activity
    = a b c d | foreground 0 | inactivity 30 | client=s1

a second background is of it too, and the app stays in front
    a@0 foreground client=s1; b@10 active client=s1; c@10.3 background; d@10.6 background; e@20 session_end;
    f@30 activity
    = a b c d e | foreground 0 | manual 20 | client=s1
    = f | continuation 30 | inactivity 30 | stitched=f/1

a window that went is an event like others: last moves
    a@0 foreground client=s1; b@10 active client=s1; c@10.5 background; d@70.5 activity
    = a b c d | foreground 0 | inactivity 70.5 | client=s1

without SDK session ids no other window is known of
    a@0 foreground; b@10 active; c@10.5 background
    = a b c | foreground 0 | background 10.5

neither with one alone
    a@0 foreground client=s1; b@10 active; c@10.5 background
    = a b c | foreground 0 | background 10.5 | client=s1

what has another SDK session id is no window of this use
    a@0 foreground client=s1; b@10 background; c@20 foreground client=s2; d@30 active client=s1; e@30.5
    background
    = a b | foreground 0 | background 10 | client=s1
    = c d e | foreground 20 | background 30.5 | client=s2

a foreground shows no other window
    a@0 foreground client=s1; b@0.5 background client=s1
    = a b | foreground 0 | background 0.5 | client=s1

an active that is a foreground shows no other window
    a@0 active client=s1; b@0.5 background client=s1
    = a b | foreground 0 | background 0.5 | client=s1

what was shown is forgotten when the session closes
    a@0 foreground client=s1; b@10 active client=s1; c@10.1 session_end; d@10.2 activity; e@10.5 background
    = a b c | foreground 0 | manual 10.1 | client=s1
    = d e | continuation 10.2 | background 10.5 | stitched=d/1

and so it is by an active that max_duration cuts off
    a@0 foreground client=s1; b@3 active client=s1; c@3.5 background
    policy: short duration
    = a | foreground 0 | max_duration 0 | client=s1
    = b c | continuation 3 | background 3.5 | client=s1

a background session has no windows to show
    a@0 foreground; b@10 session_end; c@20 active client=s1 stated=background; d@20 foreground; e@22 active client=s1;
    f@22.5 background; g@23 session_end; h@40 activity
    = a b | foreground 0 | manual 10
    = c d e f g | background 20 | manual 23 | state=background client=s1 stitched=c/1
    = h | background 40 | inactivity 40 | state=background stitched=h/1
"""

KNOWN = """
a straggler of the session before joins
    a@0 foreground client=s1; b@10 activity client=s2; c@12 activity client=s1; d@14 activity client=s2
    = a | foreground 0 | superseded 0 | client=s1
    = b c d | continuation 10 | inactivity 14 | client=s2

eight are known
    a@1 activity client=s1; b@2 activity client=s2; c@3 activity client=s3; d@4 activity client=s4;
    e@5 activity client=s5; f@6 activity client=s6; g@7 activity client=s7; h@8 activity client=s8;
    i@9 activity client=s1
    = a | implicit 1 | superseded 1 | client=s1
    = b | continuation 2 | superseded 2 | client=s2
    = c | continuation 3 | superseded 3 | client=s3
    = d | continuation 4 | superseded 4 | client=s4
    = e | continuation 5 | superseded 5 | client=s5
    = f | continuation 6 | superseded 6 | client=s6
    = g | continuation 7 | superseded 7 | client=s7
    = h i | continuation 8 | inactivity 9 | client=s8

a ninth takes the place of the first
    a@1 activity client=s1; b@2 activity client=s2; c@3 activity client=s3; d@4 activity client=s4;
    e@5 activity client=s5; f@6 activity client=s6; g@7 activity client=s7; h@8 activity client=s8;
    i@9 activity client=s9; j@10 activity client=s2; k@11 activity client=s1
    = a | implicit 1 | superseded 1 | client=s1
    = b | continuation 2 | superseded 2 | client=s2
    = c | continuation 3 | superseded 3 | client=s3
    = d | continuation 4 | superseded 4 | client=s4
    = e | continuation 5 | superseded 5 | client=s5
    = f | continuation 6 | superseded 6 | client=s6
    = g | continuation 7 | superseded 7 | client=s7
    = h | continuation 8 | superseded 8 | client=s8
    = i j | continuation 9 | superseded 10 | client=s9
    = k | continuation 11 | inactivity 11 | client=s1

one that is taken again is the latest, and all others stay; the ninth takes the place of the first
    a@1 activity client=s1; b@2 activity client=s2; c@3 activity client=s3; d@4 activity client=s4;
    e@5 activity client=s5; f@6 activity client=s6; g@7 activity client=s7; h@8 activity client=s8;
    i@9 background; j@10 foreground client=s2; k@11 activity client=s1; l@12 activity client=s9;
    m@13 activity client=s2; n@14 activity client=s10; o@15 activity client=s2; p@16 activity client=s3
    = a | implicit 1 | superseded 1 | client=s1
    = b | continuation 2 | superseded 2 | client=s2
    = c | continuation 3 | superseded 3 | client=s3
    = d | continuation 4 | superseded 4 | client=s4
    = e | continuation 5 | superseded 5 | client=s5
    = f | continuation 6 | superseded 6 | client=s6
    = g | continuation 7 | superseded 7 | client=s7
    = h i | continuation 8 | background 9 | client=s8
    = j k | foreground 10 | superseded 11 | client=s2
    = l m | continuation 12 | superseded 13 | client=s9
    = n o | continuation 14 | superseded 15 | client=s10
    = p | continuation 16 | inactivity 16 | client=s3

one that no session took is not known
    a@0 foreground client=s1; b@1 launch client=s2; c@2 activity client=s2
    = a b | foreground 0 | superseded 1 | cold client=s1
    = c | continuation 2 | inactivity 2 | client=s2

one that a session took late is known
    a@0 foreground; b@5 activity client=s1; c@10 activity client=s2; d@11 activity client=s1
    = a b | foreground 0 | superseded 5 | client=s1
    = c d | continuation 10 | inactivity 11 | client=s2

one that prev took from a trailing event is known
    a@0 foreground; b@10 background; c@11 activity client=s1; d@20 foreground client=s2; e@21 activity client=s1
    = a b c | foreground 0 | background 10 | client=s1
    = d e | foreground 20 | inactivity 21 | client=s2

a session without one takes no place
    a@1 activity client=s1; b@2 activity client=s2; c@3 activity client=s3; d@4 activity client=s4;
    e@5 activity client=s5; f@6 activity client=s6; g@7 activity client=s7; h@8 activity client=s8;
    i@9 background; j@20 foreground; k@21 activity client=s3; l@22 activity client=s1
    = a | implicit 1 | superseded 1 | client=s1
    = b | continuation 2 | superseded 2 | client=s2
    = c | continuation 3 | superseded 3 | client=s3
    = d | continuation 4 | superseded 4 | client=s4
    = e | continuation 5 | superseded 5 | client=s5
    = f | continuation 6 | superseded 6 | client=s6
    = g | continuation 7 | superseded 7 | client=s7
    = h i | continuation 8 | background 9 | client=s8
    = j k l | foreground 20 | inactivity 22 | client=s3
"""

REOPENED = """
a foreground at flicker_grace after a background: the session was not over
    a@0 foreground; b@10 background; c@10.7 foreground; d@20 background
    = a b c d | foreground 0 | background 20

a foreground later than flicker_grace opens
    a@0 foreground; b@10 background; c@10.701 foreground
    = a b | foreground 0 | background 10
    = c | foreground 10.701 | inactivity 10.701

again and again
    a@0 foreground; b@10 background; c@10.5 foreground; d@11 background; e@11.5 foreground; f@12 activity
    = a b c d e f | foreground 0 | inactivity 12

not if the SDK session ids differ
    a@0 foreground client=s1; b@10 background; c@10.5 foreground client=s2
    = a b | foreground 0 | background 10 | client=s1
    = c | foreground 10.5 | inactivity 10.5 | client=s2

one that is missing does not differ
    a@0 foreground; b@10 background; c@10.5 foreground client=s1
    = a b c | foreground 0 | inactivity 10.5 | client=s1

with what trailed in between
    a@0 foreground; b@10 background; c@10.3 activity; d@10.7 foreground
    = a b c d | foreground 0 | inactivity 10.7

not after a crash: the app's state is not background
    a@0 foreground; b@10 background; c@10.2 crash; d@10.5 foreground
    = a b c | foreground 0 | background 10
    = d | foreground 10.5 | inactivity 10.5

not after another end than background, be the app's state background
    a@0 foreground; b@10 session_end; c@10.2 background; d@10.5 foreground
    = a b c | foreground 0 | manual 10
    = d | foreground 10.5 | inactivity 10.5 | stitched=d/1

not after inactivity
    a@0 foreground; b@100 background; c@100.5 foreground
    = a b | foreground 0 | inactivity 0
    = c | foreground 100.5 | inactivity 100.5 | stitched=c/1

an implicit session of no length is reopened and stays implicit
    a@0 background; b@0.5 foreground; c@10 activity
    = a b c | implicit 0 | inactivity 10

a session that is open again ends in any way
    a@0 foreground; b@10 background; c@10.5 foreground; d@70.501 activity
    = a b c | foreground 0 | inactivity 10.5
    = d | continuation 70.501 | inactivity 70.501

it began when it began: max_duration
    a@0 foreground; b@2.5 background; c@2.8 foreground; d@3 activity
    policy: short duration
    = a b c | foreground 0 | max_duration 2.8
    = d | continuation 3 | inactivity 3

it began when it began: launch_grace
    a@0 foreground; b@4 background; c@4.5 foreground; d@5 launch
    = a b c d | foreground 0 | inactivity 5 | cold

the session before it is out of reach
    a@0 foreground client=s1; b@10 background; c@20 foreground client=s2; d@30 background; e@30.5 foreground;
    f@31 crash client=s1 counters=1
    = a b | foreground 0 | background 10 | client=s1
    = c d e f | foreground 20 | inactivity 30.5 | client=s2 crash_count=1

once it has closed again it is prev
    a@0 foreground client=s1; b@10 background; c@10.5 foreground; d@20 background; e@30 foreground client=s2;
    f@31 crash client=s1 counters=1
    = a b c d | foreground 0 | background 20 | client=s1 crash_count=1
    = e f | foreground 30 | inactivity 30 | client=s2

an exit in between is kept if the app went to the background once more
    a@0 foreground; b@10 background; c@10.1 exit reason=other; d@10.2 background; e@10.7 foreground
    = a b c d e | foreground 0 | inactivity 10.7 | exit=other

not where a session is open
    a@0 foreground client=s1; b@10 background; c@10.2 activity client=s2; d@10.5 foreground
    = a b | foreground 0 | background 10 | client=s1
    = c d | foreground 10.2 | inactivity 10.5 | client=s2

not a background session, whatever the system calls its end
    a@0 launch stated=background; b@10 exit reason=background; c@10.2 background; d@10.5 foreground
    = a b c | launch 0 | background 10 | cold state=background exit=background
    = d | foreground 10.5 | inactivity 10.5
"""

ANOTHER_SESSION = """
a crash that the next process reports is counted where it was, and inactivity becomes it
    a@0 launch client=s1; b@80 launch client=s2; c@81 crash client=s1 counters=1; d@90 background
    = a | launch 0 | crash 0 | cold client=s1 crash_count=1
    = b c d | launch 80 | background 90 | cold client=s2

unclean_exit becomes the anr
    a@0 launch client=s1; b@10 launch client=s2; c@11 anr client=s1 counters=2
    = a | launch 0 | anr 0 | cold client=s1 anr_count=1
    = b c | launch 10 | inactivity 10 | cold client=s2

superseded becomes the exception, and no other after it
    a@0 foreground client=s1; b@10 activity client=s2; c@11 exception client=s1 counters=4; d@12 crash client=s1
    = a | foreground 0 | exception 0 | client=s1 exception_count=1
    = b c d | continuation 10 | inactivity 10 | client=s2

an end by background stays
    a@0 foreground client=s1; b@5 background; c@10 foreground client=s2; d@11 crash client=s1 counters=1
    = a b | foreground 0 | background 5 | client=s1 crash_count=1
    = c d | foreground 10 | inactivity 10 | client=s2

an exit gives its reason, the first one its exit_reason
    a@0 launch client=s1; b@10 launch client=s2; c@11 exit reason=out_of_memory client=s1; d@12 exit reason=other
    client=s1
    = a | launch 0 | out_of_memory 0 | cold client=s1 exit=out_of_memory
    = b c d | launch 10 | inactivity 10 | cold client=s2

an exit gives its exit_reason though the end stays
    a@0 foreground client=s1; b@5 background; c@10 foreground client=s2; d@11 exit reason=user_terminated client=s1
    = a b | foreground 0 | background 5 | client=s1 exit=user_terminated
    = c d | foreground 10 | inactivity 10 | client=s2

a session_end counts there, and the end stays
    a@0 launch client=s1; b@10 launch client=s2; c@11 session_end client=s1 counters=64
    = a | launch 0 | unclean_exit 0 | cold client=s1 view_count=1
    = b c | launch 10 | inactivity 10 | cold client=s2

one of a session before prev counts in the open one, and all ends stay
    a@0 foreground client=s1; b@10 activity client=s2; c@20 activity client=s3; d@21 crash client=s1 counters=1
    = a | foreground 0 | superseded 0 | client=s1
    = b | continuation 10 | superseded 10 | client=s2
    = c d | continuation 20 | inactivity 20 | client=s3 crash_count=1

last stays
    a@0 foreground client=s1; b@10 activity client=s2; c@40 crash client=s1; d@70.001 activity client=s2
    = a | foreground 0 | crash 0 | client=s1
    = b c | continuation 10 | inactivity 10 | client=s2
    = d | continuation 70.001 | inactivity 70.001 | client=s2

the app's state stays
    a@0 launch client=s1 stated=background; b@10 launch client=s2 stated=background; c@11 crash client=s1;
    d@12 session_end; e@30 activity
    = a | launch 0 | crash 0 | cold client=s1 state=background
    = b c d | launch 10 | manual 12 | cold client=s2 state=background
    = e | background 30 | inactivity 30 | state=background stitched=e/1

an SDK session id that is not known names no session
    a@0 foreground client=s1; b@10 crash client=s2
    = a b | foreground 0 | crash 10 | client=s1

one without an SDK session id is the open session's
    a@0 foreground client=s1; b@10 activity client=s2; c@11 exit reason=anr
    = a | foreground 0 | superseded 0 | client=s1
    = b c | continuation 10 | anr 11 | client=s2 exit=anr

where the open session has none, a known one does not differ
    a@0 foreground client=s1; b@10 background; c@20 foreground; d@21 crash client=s1
    = a b | foreground 0 | background 10 | client=s1
    = c d | foreground 20 | crash 21 | client=s1

what time ends is over before it: then none is open
    a@0 foreground client=s1; b@10 activity client=s2; c@100 crash client=s1
    = a | foreground 0 | superseded 0 | client=s1
    = b | continuation 10 | inactivity 10 | client=s2
    = c | implicit 100 | crash 100 | client=s1

a background names no other session
    a@0 foreground client=s1; b@10 activity client=s2; c@11 background client=s1
    = a | foreground 0 | superseded 0 | client=s1
    = b c | continuation 10 | background 11 | client=s2
"""

USERS = f"""
all whom its events name, each once, and the last of them
    a@0 foreground user=u1; b@1 activity; c@2 activity user=u2; d@3 activity user=u1; e@4 activity
    = a b c d e | foreground 0 | inactivity 4 | user=u1 user_id=u1 users=u1+u2

a block without an id is the last one named, and names nobody
    a@0 foreground user=u1; b@1 activity user=nameless
    = a b | foreground 0 | inactivity 1 | user=nameless user_id=u1 users=u1

a passive event names users as others do
    a@0 foreground user=u1; b@1 passive user=u2
    = a b | foreground 0 | inactivity 0 | user=u2 user_id=u2 users=u1+u2

and a trailing one does
    a@0 foreground user=u1; b@10 crash; c@12 activity user=u2
    = a b c | foreground 0 | crash 10 | user=u2 user_id=u2 users=u1+u2

a session has nobody from the one before
    a@0 foreground user=u1; b@10 background; c@20 foreground
    = a b | foreground 0 | background 10 | user=u1 user_id=u1 users=u1
    = c | foreground 20 | inactivity 20

a crash that is counted in the session before names its user where it is
    a@0 foreground client=s1 user=u1; b@10 activity client=s2 user=u2; c@11 crash client=s1 counters=1 user=u1
    = a | foreground 0 | crash 0 | client=s1 crash_count=1 user=u1 user_id=u1 users=u1
    = b c | continuation 10 | inactivity 10 | client=s2 user=u1 user_id=u1 users=u2+u1

sixteen have room; the seventeenth is the last of them
    {"; ".join(f"a{n}@{n} activity user=u{n}" for n in range(1, 18))}; b@18 activity user=u3; c@19 activity user=u17
    = {" ".join(f"a{n}" for n in range(1, 18))} b c | implicit 1 | inactivity 19 |
        user=u17 user_id=u17 users={"+".join(f"u{n}" for n in range(1, 17))}
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
    PASSIVE,
    ACTIVE,
    WINDOWS,
    KNOWN,
    REOPENED,
    ANOTHER_SESSION,
    USERS,
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
        user=read_user(values.pop("user", "")),
        stated=AppState[values.pop("stated", "unknown").upper()],
    )
    assert not values, f"unknown in an example: {values}"
    return event


def read_user(name: str) -> str:
    """A user block from its id: `nameless` is one without."""
    return {"": "", "nameless": '{"personas":["premium"]}'}.get(name, f'{{"id":"{name}"}}')


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
        "user": read_user(values.pop("user", "")),
        "user_id": values.pop("user_id", ""),
        "user_ids": values.pop("users", "").split("+") if "users" in values else [],
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
