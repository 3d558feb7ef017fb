"""The pipeline with one more format: its sub-package, and one entry in the registry."""

from __future__ import annotations

from pipeline.formats import registry
from tests.integration import toy_format

registry.FORMATS = (*registry.FORMATS, toy_format.FORMAT)

if __name__ == "__main__":
    from pipeline.cli import main

    main()
