"""Stop: whether the CPU is free after a timeout, a drop and a cancel."""

import asyncio
import os
import struct
import time

from . import tasks
from .crash import next_result
from .peer import as_coroutine
from .words import of_error



class Times:
    """How long things take, in seconds, all from how long the tasks run if nobody stops them."""

    def __init__(self, task):
        self.task = task
        #: The timeout of the tasks that have one.
        self.timeout = task / 6
        #: A task that still runs so long after the stop was not stopped.
        self.window = task / 2
        #: Without a beat for so long, a task does not run.
        self.silence = task / 6


async def stop(peer, sizes):
    """One case after the other, each with a task on every worker."""
    figures = {}
    times = Times(sizes.task_seconds)
    await peer.start(sizes.workers, sizes.scratch)
    for case in (timeout, drop, cancel):
        name = case.__name__
        beats = [os.path.join(sizes.scratch, f"{name}.{n}") for n in range(sizes.workers)]
        assert (await next_result(peer))[0], "no pool to begin with"
        figures[name] = await case(peer, beats, times)
        await until_silent(beats, times)
        if not figures[name]["works_after"]:
            await peer.stop()
            await peer.start(sizes.workers, sizes.scratch)
    await peer.stop()
    return figures


async def timeout(peer, beats, times):
    how, own = peer.timeout_means
    asked = time.monotonic() + times.timeout
    within = [peer.submit_within(times.timeout, tasks.beat, beat, times.task) for beat in beats]
    ended = await asyncio.gather(*within, return_exceptions=True)
    error_ms = 1e3 * (time.monotonic() - asked)
    watched = await watch(peer, beats, asked, times)
    return {"how": how, "own": own, "error": first_of(ended), "error_ms": error_ms, **watched}


async def drop(peer, beats, times):
    submitted = [peer.submit(tasks.beat, beat, times.task) for beat in beats]
    awaiting = [asyncio.ensure_future(as_coroutine(one)) for one in submitted]
    del submitted
    await until_started(beats)
    asked = time.monotonic()
    for task in awaiting:
        task.cancel()  # as a web server does to a handler whose browser has left
    await asyncio.gather(*awaiting, return_exceptions=True)
    del awaiting, task
    return {
        "how": "the awaiting asyncio task is cancelled",
        "own": False,
        "error": None,
        "error_ms": 1e3 * (time.monotonic() - asked),
        **await watch(peer, beats, asked, times),
    }


async def cancel(peer, beats, times):
    how, own = peer.cancel_means
    submitted = [peer.submit(tasks.beat, beat, times.task) for beat in beats]
    await until_started(beats)
    asked = time.monotonic()
    for one in submitted:
        await peer.cancel(one)
    probe = asyncio.ensure_future(watch(peer, beats, asked, times))
    ended = await asyncio.gather(*map(as_coroutine, submitted), return_exceptions=True)
    error_ms = 1e3 * (time.monotonic() - asked)
    watched = await probe
    return {"how": how, "own": own, "error": first_of(ended), "error_ms": error_ms, **watched}


def first_of(ended):
    """The first error of several tasks, in words, if there is one."""
    return next((of_error(one) for one in ended if isinstance(one, BaseException)), None)


async def watch(peer, beats, asked, times):
    """What became of the tasks that were asked to stop at that time, and of the pool."""
    works_after, _ = await next_result(peer, times.task * 3)
    next_result_ms = 1e3 * (time.monotonic() - asked) if works_after else None
    await asyncio.sleep(max(0, asked + times.window - time.monotonic()))
    last = [last_beat(beat) for beat in beats]
    started = [beat for beat in last if beat is not None]
    latest = max(started, default=asked)
    stopped = latest < asked + times.window - times.silence
    return {
        "started": len(started),
        "stopped": stopped,
        "cpu_free_ms": max(0.0, 1e3 * (latest - asked)) if stopped else None,
        "works_after": works_after,
        "next_result_ms": next_result_ms,
    }


async def until_started(beats, limit_s=10):
    """Waits until all tasks run; or as many as will, if some wait behind others."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end and any(last_beat(beat) is None for beat in beats):
        await asyncio.sleep(0.002)


async def until_silent(beats, times):
    """Waits until no task of this case runs any more."""
    while any((last_beat(beat) or 0) > time.monotonic() - times.silence for beat in beats):
        await asyncio.sleep(0.02)


def last_beat(path):
    """When a task last wrote the time, by the clock that all processes share."""
    try:
        with open(path, "rb") as file:
            data = file.read(8)
    except FileNotFoundError:
        return None
    return struct.unpack("<q", data)[0] / 1e9 if len(data) == 8 else None
