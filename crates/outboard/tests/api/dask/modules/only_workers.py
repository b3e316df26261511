"""What the tests call; only workers have this module."""

import itertools
import os
import time


class CustomError(ValueError):
    def __init__(self, code, text):
        super().__init__(code, text)
        self.code = code


def echo(value):
    return value


def mixed():
    return {"numbers": [1, 2, 3], "name": "é", "pair": (1.5, None), "yes": True}


def huge():
    return 2**100


def unpicklable():
    return lambda: 1


def fail(code):
    raise CustomError(code, "on purpose")


def divide(a, b):
    return a / b


def hold(directory):
    """Says that it started, and waits until it is released."""
    with open(os.path.join(directory, "starts"), "a") as file:
        file.write(f"{os.getpid()}\n")
    while os.path.exists(directory) and not os.path.exists(os.path.join(directory, "released")):
        time.sleep(0.002)
    return os.getpid()


def crash(directory):
    """Takes its worker along."""
    with open(os.path.join(directory, "starts"), "a") as file:
        file.write(f"{os.getpid()}\n")
    os._exit(3)


def count(to):
    yield from range(to)
    return f"{to} numbers"


def count_and_fail(to):
    yield from range(to)
    raise CustomError(to, "on purpose")


def count_on(directory):
    """Without an end of its own; notes the one that it has."""
    try:
        yield from itertools.count()
    finally:
        note(directory, "ended")


def large(size):
    return b"x" * size


def note(directory, line):
    with open(os.path.join(directory, "lines"), "a") as file:
        file.write(f"{line}\n")


def fails_before(directory, times):
    """Raises the first so many times."""
    with open(os.path.join(directory, "starts"), "a+") as file:
        file.write("start\n")
        file.seek(0)
        starts = len(file.readlines())
    if starts <= times:
        raise RuntimeError(f"start {starts} of {times} that fail")
    return starts


class LoudError(ValueError):
    """Short to those who print it, and long inside."""

    def __str__(self):
        return "loud"


def shout(size):
    raise LoudError("on purpose", "x" * size)


def evaluate(code):
    """A value of Python's library or of numpy."""
    import array, collections, datetime, decimal, enum, fractions, math, pathlib, types, uuid

    import numpy

    color = enum.Enum("Color", {"RED": "red"}, module=__name__)
    globals()["Color"] = color
    return eval(code, {**globals(), **locals()})


def describe(value):
    """What it is, as text."""
    import numpy

    if isinstance(value, numpy.ndarray):
        flags = value.flags.c_contiguous and value.flags.writeable
        return f"{value.dtype.str} {value.shape} {flags} {value.tolist()}"
    return repr(value)
