"""Programs that send and end, each in its own way: `python -m tests.support.sdk_program BOOTSTRAP TOPIC HOW`.

Of each process that sent, the ids it expects to arrive are none of its business: events say `who` in their attributes.
"""

from __future__ import annotations

import multiprocessing
import os
import sys

from pipeline.sdk import Device, Producer, event

PHONE = Device("app", "phone")


def main(bootstrap: str, topic: str, how: str) -> None:
    producer = Producer(bootstrap, topic=topic, linger_s=60)
    send = lambda who: producer.send(PHONE, event("a", {"who": who}))  # noqa: E731
    send("parent")
    if how == "exit":
        return
    if how == "error":
        raise SystemExit(3)
    if how == "fork":
        # What waits in the parent is the parent's: here the queue holds one event, and a thread runs.
        child = os.fork()
        if not child:
            assert producer.counts.taken == 0
            send("child")
            return
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        send("parent again")
        producer.flush(30)
        return
    context = multiprocessing.get_context("fork")
    process = context.Process(target=send, args=("child",))
    process.start()
    process.join()
    assert process.exitcode == 0


if __name__ == "__main__":
    main(*sys.argv[1:])
