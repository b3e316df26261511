"""CPU time of all processes of one run. `bench/rust/src/cpu.rs` does the same."""

import os
from pathlib import Path


def processes():
    """Those with this run's mark: the server, its workers, and whatever else was started for them.

    To find them takes a while, and is not to be measured.
    """
    mark = f"BENCH_RUN={os.environ['BENCH_RUN']}".encode()
    return [pid for pid in Path("/proc").iterdir() if pid.name.isdigit() and carries(pid, mark)]


def used_ns(processes):
    """What they have used so far."""
    return sum(map(of_process, processes))


def carries(pid, mark):
    try:
        return mark in (pid / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def of_process(pid):
    """That of its threads; what has ended meanwhile counts no more."""
    used = 0
    try:
        for thread in (pid / "task").iterdir():
            used += int((thread / "schedstat").read_text().split()[0])
    except OSError:
        pass
    return used
