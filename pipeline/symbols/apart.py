"""Reading symbol files in a process of its own: a file that crashes the reader, or makes it take too much memory,
ends that process and nothing else."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from pipeline.symbols.reading import RefusedFile, SymbolFile, read_files


def read_apart(path: Path) -> list[SymbolFile | RefusedFile]:
    """What there is in a file, as of `read_files`. Blocks. Raises NoSymbolLibrary, and OSError."""
    # Not forked: the caller has threads.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_read, path).result()
        except BrokenProcessPool:
            why = "the process that read it died: it is damaged, or there was too little memory"
            return [RefusedFile(path.name, why)]


def _read(path: Path) -> list[SymbolFile | RefusedFile]:
    return list(read_files([path]))
