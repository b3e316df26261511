"""What the tests call that does harm, or waits."""

import ctypes
import logging
import os
import subprocess
import sys
import time

logger = logging.getLogger("trouble")


def pid():
    return os.getpid()


def start(directory):
    with open(os.path.join(directory, "starts"), "a") as file:
        file.write(f"{os.getpid()}\n")


def hold(directory):
    start(directory)
    while not os.path.exists(os.path.join(directory, "released")):
        time.sleep(0.002)
    return os.getpid()


def hold_with_a_child(directory):
    child = subprocess.Popen(["sleep", "1000"])
    with open(os.path.join(directory, "children"), "a") as file:
        file.write(f"{child.pid}\n")
    hold(directory)


def listen(directory):
    import outboard

    start(directory)
    while not outboard.cancelled():
        time.sleep(0.001)
    with open(os.path.join(directory, "stopped"), "a") as file:
        file.write(f"{os.getpid()}\n")


def leave(code):
    print("about to leave", file=sys.stderr)
    os._exit(code)


def fault():
    ctypes.string_at(0)


def grow(megabytes):
    return len(bytearray(megabytes << 20))


def spin():
    while True:
        pass


def say(text):
    print(text)


def log(text):
    logger.warning("%s", text)


def advance(directory):
    import outboard

    outboard.progress(3, 10, "reading")
    return hold(directory)


def fork():
    import outboard

    child = os.fork()
    if child == 0:
        outboard.progress(1, 2, "of the child")
        return 0
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def two(a, b):
    return a + b


def lock():
    return logging._lock if hasattr(logging, "_lock") else open(os.devnull)


def zeros(size):
    import numpy

    return {"name": "zeros", "data": numpy.zeros(size, "f4")}


def count(to, wide=0):
    for number in range(to):
        yield number
    return f"{to} numbers"


def wide(to, size):
    for number in range(to):
        yield bytes([number % 251]) * size


def count_and_hold(directory):
    yield 1
    hold(directory)


def count_and_fail(to):
    yield from range(to)
    raise ValueError("enough")
