"""What the figures were measured with: the machine, the versions, and who else was busy."""

import os
import platform
import re
import time
from importlib.metadata import distributions
from pathlib import Path

from . import install, plan
from .paths import BENCH, VENV


def describe():
    memory = re.search(r"MemTotal: +(\d+) kB", Path("/proc/meminfo").read_text())
    return {
        "cpu": cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory[1]) / 2**20, 1),
        "kernel": platform.release().split("-")[0],
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        "virtual": "hypervisor" in Path("/proc/cpuinfo").read_text(),
    }


def cpu():
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or "unknown"


def versions(names, quick):
    """Of the peers that can be asked, and of what they run on."""
    found = {
        "Python": platform.python_version(),
        "Rust": first_version(["rustc", "--version"]),
        "Cargo's profile": install.profile(quick),
        "Outboard's commit": first_word(["git", "describe", "--always", "--dirty", "--exclude=*"]),
    }
    if "celery" in names:
        found["redis-server"] = first_version(["redis-server", "--version"])
    crates = locked_crates()
    wheels = installed()
    for name in names:
        peer = plan.PEERS[name]
        source = crates if peer.language == "rust" else wheels
        for package in peer.packages:
            found[package] = source.get(package, "unknown")
    return found


def locked_crates():
    lock = (BENCH / "rust" / "Cargo.lock").read_text()
    return dict(re.findall(r'name = "(.+)"\nversion = "(.+)"', lock))


def installed():
    folders = [str(folder) for folder in VENV.glob("lib/*/site-packages")]
    return {one.metadata["Name"].lower(): one.version for one in distributions(path=folders)}


def first_version(command):
    found = re.search(r"\d+\.\d+[\d.]*", install.run(command).stdout)
    return found[0] if found else "unknown"


def first_word(command):
    return (install.run(command).stdout.split() or ["unknown"])[0]


def load(seconds=1.0):
    """The share of all cores that others used, while nothing of ours ran."""
    busy, total = ticks()
    time.sleep(seconds)
    busy_then, total_then = ticks()
    return round((busy_then - busy) / max(1, total_then - total), 2)


def ticks():
    times = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    idle = times[3] + times[4]
    return sum(times) - idle, sum(times)
