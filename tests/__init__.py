"""Programs that tests and benches start find their modules compiled, as an installed package does.

Without that each start of a worker costs 0.5 s more of processor time, wherever PYTHONDONTWRITEBYTECODE is set.
Nothing is written among the sources.
"""

import os
from pathlib import Path

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ.setdefault(
    "PYTHONPYCACHEPREFIX", str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "bytecode")
)
