"""Apache Kafka's command line tools, by the names that they have in its distribution."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.services import Unavailable, classpath

_POM = Path(__file__).parents[1] / "kafka" / "tools" / "pom.xml"
_CLASSES = {
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
    "kafka-consumer-groups.sh": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
}
_JAVA_OPTIONS = (
    "-Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=error"
)


def write_scripts(folder: Path) -> None:
    """Put them into a folder for PATH. Blocks while Maven fetches them, the first time; Unavailable without."""
    java = shutil.which("java")
    if java is None:
        raise Unavailable("Kafka's tools need java 17 or later, which is not installed")
    jars = classpath(_POM, "Apache Kafka's tools")
    folder.mkdir(exist_ok=True)
    for name, program in _CLASSES.items():
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {java} {_JAVA_OPTIONS} -cp {jars} {program} "$@"\n')
        script.chmod(0o755)
