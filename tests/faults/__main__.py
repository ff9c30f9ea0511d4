"""Kills and interrupts commands at random moments, gives them again, and prints what survived: ``make faults``.

    python -m tests.faults [KILLS [SEED]]

Each command is killed KILLS times (default 14) at a random moment of its run, given again, and its results compared
with those of a run that was left alone.
"""

import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.commands_to_kill import TRAIN, VICTIMS, Victim, command, fresh, prepare
from tests.faults.content import content, differences
from tests.faults.forked import finish, start, stopped

SIGNALS = {
    "SIGINT": (signal.SIGINT,),
    "SIGINT twice": (signal.SIGINT, signal.SIGINT),
    "SIGTERM": (signal.SIGTERM,),
    "SIGTERM twice": (signal.SIGTERM, signal.SIGTERM),
}


@dataclass
class Count:
    """How often a command was stopped, went on to its end when it was given again, and ended with the same results."""

    tried: int = 0
    in_time: int = 0
    survived: int = 0
    identical: int = 0
    notes: list[str] = field(default_factory=list)


def undisturbed(victim: Victim, shared: Path) -> tuple[dict[str, object], float]:
    """Return the results of a command that is left alone, and its seconds."""
    folder = fresh(victim, shared / "alone", shared)
    started = time.monotonic()
    code = finish(start(victim.call(shared), folder, shared / "log.txt"))
    seconds = time.monotonic() - started
    if code:
        raise SystemExit(
            f"a command that was left alone ended with {code}:\n{(shared / 'log.txt').read_text()[-2000:]}"
        )
    found = content(folder / victim.results)
    shutil.rmtree(folder)
    return found, seconds


def disturb(victim: Victim, shared: Path, moments: Sequence[float], signals: Sequence[int], codes: set[int]) -> Count:
    """Stop a command at some moments, each time in a fresh folder, and give it again."""
    expected, seconds = undisturbed(victim, shared)
    count = Count()
    for moment in moments:
        folder = fresh(victim, shared / "killed", shared)
        log = shared / "log.txt"
        log.write_text("")
        code = stopped(start(victim.call(shared), folder, log), moment * seconds, *signals)
        count.tried += 1
        count.in_time += code != 0
        if code not in codes | {0}:
            count.notes.append(f"at {moment:.2f}: ended with {code}: {log.read_text()[-300:]}")
        log.write_text("")
        code = finish(start(victim.call(shared), folder, log))
        count.survived += code == 0
        if code:
            count.notes.append(f"at {moment:.2f}: given again it ended with {code}: {log.read_text()[-600:]}")
        elif different := differences(expected, content(folder / victim.results)):
            count.notes.append(f"at {moment:.2f}: other {', '.join(different[:4])}")
        else:
            count.identical += 1
        shutil.rmtree(folder)
    return count


def main(kills: int = 14, seed: int = 0) -> int:
    """Print a row for each command and signal; return 1 if anything was lost."""
    rng = random.Random(seed)
    lost = 0
    with tempfile.TemporaryDirectory() as scratch:
        shared = Path(scratch)
        prepare(shared)
        train = command(*TRAIN, "run_dir=run", f"cache_dir={shared / 'cache'}")
        if finish(start(train, shared, shared / "log.txt")):
            raise SystemExit((shared / "log.txt").read_text())
        print(f"{'command':16} {'signal':14} {'tried':>6} {'in time':>8} {'survived':>9} {'identical':>10}")
        rows = [(name, "SIGKILL", (signal.SIGKILL,), kills) for name in VICTIMS]
        rows += [(name, kind, SIGNALS[kind], 2) for name in ("train", "project", "transfer") for kind in SIGNALS]
        for name, kind, signals, number in rows:
            moments = sorted(rng.uniform(0.02, 0.98) for _ in range(number))
            codes = {-signal.SIGKILL} if kind == "SIGKILL" else {130, 143, -signal.SIGINT, -signal.SIGTERM}
            count = disturb(VICTIMS[name], shared, moments, signals, codes)
            row = f"{count.tried:6} {count.in_time:8} {count.survived:9} {count.identical:10}"
            print(f"{name:16} {kind:14} {row}", *count.notes, sep="\n    ", flush=True)
            lost += bool(count.notes)
    return int(lost > 0)


if __name__ == "__main__":
    # Imported before the processes are forked, so that a kill meets the work and not the imports.
    import convlens.runs.training
    import convlens.tasks.collect
    import convlens.tasks.occlude
    import convlens.tasks.project
    import convlens.tasks.transfer
    import convlens.tasks.write_shards  # noqa: F401

    sys.exit(main(*map(int, sys.argv[1:])))
