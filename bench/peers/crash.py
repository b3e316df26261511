"""Crash: what one task that ends its process by SIGABRT costs the others."""

import asyncio
import os
import time

from . import tasks
from .peer import as_coroutine
from .words import of_error

#: How long to wait for whatever a peer does about a crash.
LIMIT_S = 60

WAITING = 4


async def crash(peer, sizes):
    await peer.start(sizes.workers, sizes.scratch)
    assert await peer.submit(tasks.add_one, 1) == 2
    sibling = started(peer, tasks.sibling, sizes.scratch, sizes.task_seconds / 3)
    while count(sizes, "sibling.starts") == 0:
        await asyncio.sleep(0.002)
    began = time.monotonic()
    crashing = started(peer, tasks.crash, sizes.scratch)
    waiting = [started(peer, tasks.add_one, number) for number in range(WAITING)]
    error = await outcome(crashing)
    error_ms = 1e3 * (time.monotonic() - began)
    told_while_sibling_ran = count(sizes, "sibling.ends") == 0
    works_after, next_result_ms = await next_result(peer)
    sibling = await outcome(sibling)
    waiting = [await outcome(one) for one in waiting]
    await peer.stop()
    return {
        "error": error,
        "error_ms": error_ms,
        "crash_starts": count(sizes, "crash.starts"),
        "told_while_sibling_ran": told_while_sibling_ran,
        "sibling": sibling,
        "sibling_starts": count(sizes, "sibling.starts"),
        "waiting": WAITING,
        "waiting_finished": sum(one == "finished" for one in waiting),
        "works_after": works_after,
        "next_result_ms": next_result_ms,
        "server": "alive",
    }


def started(peer, function, *args):
    """A task whose submit, too, may fail."""

    async def submit():
        return await peer.submit(function, *args)

    return asyncio.ensure_future(submit())


async def outcome(task):
    """`finished`, or what went wrong."""
    try:
        await asyncio.wait_for(task, LIMIT_S)
        return "finished"
    except Exception as error:
        return of_error(error)


async def next_result(peer, limit_s=LIMIT_S):
    """Whether the pool gives a result now, and after how many milliseconds."""
    began = time.monotonic()
    try:
        value = await asyncio.wait_for(as_coroutine(peer.submit(tasks.add_one, 1)), limit_s)
    except Exception:
        return False, None
    return value == 2, 1e3 * (time.monotonic() - began)


def count(sizes, name):
    path = os.path.join(sizes.scratch, name)
    return os.path.getsize(path) if os.path.exists(path) else 0
