"""Keep a seed that finds each planted bug, so that the test of the bugs tries this seed first.

    python -m tests.simulation.found            searches where the kept seed finds its bug no more
    python -m tests.simulation.found "lease"    only for bugs whose names contain this text

A change of the relay or of the runtime changes what a seed does. The test then searches, and takes
minutes longer: write the file again (`make bugs`).
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tests.simulation.bugs import BUGS, find
from tests.simulation.world import own_collecting

FOUND = Path(__file__).with_name("found.json")

_POOL = 16
"""Bugs of one process pool: the objects that outlive their runs fill the memory."""


def known() -> dict[str, int]:
    """Return the seed that found each bug when the file was written."""
    seeds: dict[str, int] = json.loads(FOUND.read_text(encoding="utf-8"))
    return seeds


def search(names: Sequence[str], first: Mapping[str, int]) -> Iterator[tuple[str, int | None]]:
    """Search for planted bugs on all cores.

    Args:
        names: the names of the bugs.
        first: for some names, the seed that is tried first.

    Yields:
        Each name with a seed that finds the bug, or None.
    """
    for at in range(0, len(names), _POOL):
        part = names[at : at + _POOL]
        with ProcessPoolExecutor(
            mp_context=get_context("spawn"), initializer=own_collecting
        ) as pool:
            yield from zip(part, pool.map(find, part, map(first.get, part)), strict=True)


def main() -> int:
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    names = [name for name in BUGS if wanted in name]
    former = known()
    kept = {name: seed for name, seed in former.items() if name in BUGS}
    began = time.monotonic()
    for name, seed in search(names, former):
        sys.stdout.write(f"{time.monotonic() - began:5.0f} s  seed {seed}: {name}\n")
        sys.stdout.flush()
        kept.pop(name, None)
        if seed is not None:
            kept[name] = seed
        # After every bug: a search that is interrupted has not been in vain.
        FOUND.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return int(kept.keys() != BUGS.keys())


if __name__ == "__main__":
    sys.exit(main())
