"""Asks the peers in turn, one process for each question, and ends what they leave behind."""

import json
import os
import resource
import signal
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

from . import install, machine, plan
from .paths import BENCH

#: Every process that a run starts inherits this variable, and is found by it.
MARK = "BENCH_RUN"


def all_rounds(names, sizes):
    """The answers of each peer to each part, and how busy the machine was without them."""
    raise_open_files()
    answers = {name: {} for name in names}
    load = []
    for number, parts in enumerate(sizes["rounds"]):
        load.append(machine.load())
        # Each round begins with another peer, so that none is always first.
        order = names[number % len(names) :] + names[: number % len(names)]
        for part in parts:
            for name in order:
                began = time.monotonic()
                answer = ask(name, part, sizes)
                answers[name].setdefault(part, []).append(answer)
                took = time.monotonic() - began
                what = f"round {number + 1} of {len(sizes['rounds'])}, {part}: {name}"
                install.say(f"{what}, {took:.1f} s {answer.get('failed', '')}".rstrip())
    return {"peers": answers, "load": load}


def ask(name, part, sizes):
    """What a peer answers; what became of it if it gives no answer."""
    with tempfile.TemporaryDirectory(prefix="bench", ignore_cleanup_errors=True) as scratch:
        status, stdout, stderr = run(command(name, part, sizes, scratch), scratch, sizes["limit_s"])
        lines = [line for line in stdout.splitlines() if line.startswith("{")]
        if status == 0 and lines:
            return json.loads(lines[-1])
        if status is not None and status < 0 and part == "crash":
            return died(name, -status, scratch)
        became = "took too long" if status is None else f"ended with {status}"
        return {"peer": name, "part": part, "failed": f"{became}: {install.last_line(stderr)}"}


def command(name, part, sizes, scratch):
    arguments = [part, "--scratch", scratch]
    for key in ("workers", "seconds", "batch", "burn_seconds", "task_seconds"):
        arguments += [f"--{key.replace('_', '-')}", str(sizes[key])]
    return install.program(name, sizes == plan.QUICK) + arguments


def run(arguments, scratch, limit_s):
    """The exit status (None: it took too long) and what was written."""
    mark = uuid.uuid4().hex
    extra = {MARK: mark, "PYTHONDONTWRITEBYTECODE": "1"}
    with open(f"{scratch}/stdout", "w+") as stdout, open(f"{scratch}/stderr", "w+") as stderr:
        process = subprocess.Popen(
            arguments, cwd=BENCH, stdout=stdout, stderr=stderr, env=os.environ | extra
        )
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            end_all(mark)
            process.wait()
        return status, *(Path(file.name).read_text(errors="replace") for file in (stdout, stderr))


def end_all(mark):
    """Kills the processes that carry the mark, each by its number."""
    wanted = f"{MARK}={mark}".encode()
    while found := [pid for pid in processes() if wanted in environment(pid)]:
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.01)


def processes():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def environment(pid):
    """Empty for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def died(name, number, scratch):
    """The answer of a peer whose crash took the server along, as seen from outside."""
    finished = os.path.exists(f"{scratch}/sibling.ends")
    starts = {part: count(f"{scratch}/{part}.starts") for part in ("crash", "sibling")}
    by = f"killed by {signal.Signals(number).name}"
    answer = dict.fromkeys(plan.KEYS["crash"])
    return answer | {
        "peer": name,
        "part": "crash",
        "crash_starts": starts["crash"],
        "told_while_sibling_ran": not finished,
        "sibling": "finished" if finished else f"the server was {by}",
        "sibling_starts": starts["sibling"],
        "waiting_finished": 0,
        "works_after": False,
        "server": by,
    }


def count(path):
    return os.path.getsize(path) if os.path.exists(path) else 0


def raise_open_files():
    """procspawn panics when it runs out of descriptors, which 1,000 tasks at once do with 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
