"""`python -m tests.contract.release_schemas VERSION`: keeps the present schemas as those of a release."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

SCHEMAS = Path(__file__).parents[2] / "schemas"


def main(version: str) -> None:
    folder = SCHEMAS / "released" / version
    folder.mkdir(parents=True)
    for schema in sorted(SCHEMAS.glob("*.schema.json")):
        shutil.copy(schema, folder)
    accepted = SCHEMAS / "examples" / "native" / "accepted"
    lines = []
    for expected in sorted(accepted.glob("*.expected.json")):
        name = expected.name.removesuffix(".expected.json")
        example = {
            "name": name,
            "record_ms": json.loads(expected.read_text("utf-8"))["record_ms"],
            "value": json.loads((accepted / f"{name}.json").read_text("utf-8")),
        }
        lines.append(json.dumps(example, ensure_ascii=False, separators=(",", ":")) + "\n")
    (folder / "native-accepted.ndjson").write_text("".join(lines), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
