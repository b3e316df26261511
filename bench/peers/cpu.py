"""CPU time of all processes of one run. `bench/rust/src/cpu.rs` does the same."""

import os
from pathlib import Path


def used_ns():
    """What the processes with this run's mark have used so far: the server, its workers, and
    whatever else was started for them."""
    mark = f"BENCH_RUN={os.environ['BENCH_RUN']}".encode()
    return sum(of_process(pid) for pid in Path("/proc").iterdir() if pid.name.isdigit() and carries(pid, mark))


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
