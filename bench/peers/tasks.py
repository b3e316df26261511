"""What the workers of every Python peer compute. `bench/rust/src/tasks.rs` has the same."""

import os
import struct
import time


def add_one(x):
    return x + 1


def echo(data):
    return data


def burn(index, seconds):
    """Keeps a core busy until this thread has had so much CPU time; never sleeps."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return index


def note(path):
    """Adds one byte to a file, so that its length counts."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, b".")
    os.close(file)


def sibling(scratch, seconds):
    """Runs beside the task that crashes, and counts its starts and its ends."""
    note(os.path.join(scratch, "sibling.starts"))
    burn(0, seconds)
    note(os.path.join(scratch, "sibling.ends"))
    return 7


def crash(scratch):
    """Counts its starts, and ends its process by SIGABRT, as a failed C assertion does."""
    note(os.path.join(scratch, "crash.starts"))
    os.abort()


def beat(path, seconds):
    """Keeps a core busy for so long, and writes the time into a file each millisecond."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        os.pwrite(file, struct.pack("<q", time.monotonic_ns()), 0)
        pause = time.monotonic() + 0.001
        while time.monotonic() < pause:
            pass
    os.close(file)
    return 0
