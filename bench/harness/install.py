"""Installs what the peers need: a virtual environment, Redis, the Rust program."""

import os
import shutil
import subprocess
import sys

from . import plan
from .paths import BENCH, PLOTS, PYTHON, RESULTS, ROOT, TARGET, VENV


def peers(wanted, quick):
    """The names of the peers that can be asked, and why each of the others cannot."""
    ready, missing = [], {}
    for name in wanted or plan.PEERS:
        say(f"{'looking for' if quick else 'installing'} {name}")
        try:
            one(name, plan.PEERS[name], quick)
            ready.append(name)
        except Missing as error:
            say(f"{name} is missing: {error}")
            missing[name] = str(error)
    return ready, missing


class Missing(Exception):
    """Why a peer cannot be asked."""


def one(name, peer, quick):
    if peer.language == "rust":
        if name == "outboard_python" and not quick:
            environment()
        return build(quick)
    if not quick:
        environment()
        pip(*peer.packages, "matplotlib")
    elif peer.packages:
        modules = ", ".join(peer.packages)
        found = PYTHON.exists() and run([PYTHON, "-c", f"import {modules}"]).returncode == 0
        if not found:
            raise Missing("not installed, and --quick installs nothing")
    if name == "celery" and not shutil.which("redis-server"):
        if quick:
            raise Missing("redis-server is not installed, and --quick installs nothing")
        system_package("redis-server")


def build(quick):
    """The Rust peers."""
    command = ["cargo", "build", "--locked", "--manifest-path", BENCH / "rust" / "Cargo.toml"]
    command += ["--target-dir", TARGET, "--profile", profile(quick)]
    done = run(command)
    if done.returncode != 0:
        raise Missing(f"it does not build: {last_line(done.stderr)}")


def profile(quick):
    """Optimized as a whole; the quick form takes what the tests have built much of."""
    return "dev" if quick else "dist"


def program(name, quick):
    """What asks a peer, and its first arguments."""
    python = PYTHON if PYTHON.exists() else sys.executable
    if plan.PEERS[name].language == "rust":
        return [TARGET / ("debug" if quick else "dist") / "peers", name, "--python", python]
    return [python, "-B", "-m", "peers", name]


def environment():
    if PYTHON.exists():
        return
    command = [sys.executable, "-m", "venv", VENV]
    if run(command).returncode != 0:
        system_package("python3-venv")
        if (done := run(command)).returncode != 0:
            raise Missing(f"no virtual environment: {last_line(done.stdout + done.stderr)}")


def pip(*packages):
    """The versions are those of constraints.txt, and of nothing else."""
    options = ["--quiet", "--disable-pip-version-check", "--constraint", BENCH / "constraints.txt"]
    done = run([PYTHON, "-m", "pip", "install", *options, *packages])
    if done.returncode != 0:
        raise Missing(f"pip cannot install {' '.join(packages)}: {last_line(done.stderr)}")


def system_package(package):
    """As root with apt-get, otherwise asked for."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Missing(f"please install {package}, for example with: sudo apt-get install {package}")
    install = ["apt-get", "install", "-y", "-qq", package]
    if run(install).returncode != 0:
        run(["apt-get", "update", "-qq"])
        if (done := run(install)).returncode != 0:
            raise Missing(f"apt-get cannot install {package}: {last_line(done.stderr)}")


def plots():
    """matplotlib is in the virtual environment only."""
    environment()
    pip("matplotlib")
    subprocess.run([PYTHON, "-B", "-m", "harness.plots", RESULTS, PLOTS], cwd=BENCH, check=True)


def run(command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def last_line(text):
    return (text.strip().splitlines() or ["it says nothing"])[-1][:200]


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)
