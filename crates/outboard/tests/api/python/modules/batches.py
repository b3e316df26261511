"""Functions that take the items of several callers: a list in, a list out."""

import os
import time

import outboard

import trouble


def note(directory, name):
    with open(os.path.join(directory, name), "a") as file:
        file.write(f"{os.getpid()}\n")


def counted(items):
    return [(item, len(items)) for item in items]


def short(items):
    return items[1:]


def fragile(items):
    if "raise" in items:
        raise ValueError("as it was told")
    if "crash" in items:
        os._exit(3)
    if "grow" in items:
        bytearray(1 << 40)
    return counted(items)


def unsendable(items):
    return [open(os.devnull) if item == "file" else item for item in items]


def held(directories):
    for directory in directories:
        trouble.start(directory)
    while not all(os.path.exists(os.path.join(one, "released")) for one in directories):
        time.sleep(0.001)
    for directory in directories:
        note(directory, "ends")
    return [len(directories)] * len(directories)


def listens(directories):
    for directory in directories:
        trouble.start(directory)
    outboard.progress(1, 2, f"of {len(directories)}")
    while not outboard.cancelled():
        if any(os.path.exists(os.path.join(directory, "asked")) for directory in directories):
            for directory in directories:
                note(directory, "wanted")
        time.sleep(0.001)
    for directory in directories:
        note(directory, "stopped")
    return directories


def sized(items):
    return [(len(items), item) for item in items]


def nothing(items):
    return 7


def spends(items):
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    return items


def spend_and_leave():
    spends([])
    os._exit(7)


def slow(items):
    """A generator where a list is due."""
    yield from items
