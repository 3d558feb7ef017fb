"""Kafka Streams: a session window with a count, state in RocksDB with a changelog, sessions to a topic.

`KafkaStreamsJob.java` is the job. It runs twice in one JVM, over the whole topic each time; the second run is measured,
from its start to when it is closed, which writes and commits all that is left.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from marks import GAP_S, Marks, options


def main() -> None:
    told = options()
    marks = Marks(told.folder)
    source = Path(__file__).parent / "KafkaStreamsJob.java"
    classpath = (told.cache / "classpath").read_text()
    places = [told.bootstrap, told.topic, told.warm_output, told.output, str(told.events), str(told.folder)]
    java = subprocess.Popen(
        ["java", "-cp", classpath, str(source), *places, str(GAP_S)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert java.stdin is not None
    assert java.stdout is not None
    for said, moment in (("warm", "first"), ("done", "last")):
        line = java.stdout.readline()
        if line.strip() != said:
            sys.exit(f"the job said {line!r}, and not {said}")
        marks.say(moment)
        java.stdin.write("\n")
        java.stdin.flush()
    sys.exit(java.wait())


if __name__ == "__main__":
    main()
