"""Speed: first result, round trip, a task after each pause, many at once, 1 MiB, and 20 tasks
that burn CPU."""

import asyncio
import time

from . import cpu, tasks

#: Between two tasks, in seconds.
PAUSE_S = 1e-3


async def speed(peer, sizes):
    """Measures a peer that is started here, so that its start counts too."""
    began = time.perf_counter()
    await peer.start(sizes.workers, sizes.scratch)
    assert await peer.submit(tasks.add_one, 1) == 2
    first_result_ms = 1e3 * (time.perf_counter() - began)
    figures = {
        "first_result_ms": first_result_ms,
        "roundtrip_us": await roundtrip(peer, sizes.seconds),
        **await paced(peer, sizes.seconds),
        "throughput_per_s": await throughput(peer, sizes),
        "echo_ms": await echo(peer, sizes.seconds),
        "twenty_s": await twenty(peer, sizes.burn_seconds),
    }
    await peer.stop()
    return figures


async def roundtrip(peer, seconds):
    last, calls, times = await one_by_one(peer, tasks.add_one, 0, seconds)
    assert last == calls
    return percentiles(times, 1e6)


async def paced(peer, seconds):
    """A task after each pause, and the CPU time of all processes for one."""
    assert await peer.submit(tasks.add_one, 0) == 1
    processes = cpu.processes()
    before_ns = cpu.used_ns(processes)
    times = []
    end = time.perf_counter() + seconds
    while len(times) < 10 or time.perf_counter() < end:
        await asyncio.sleep(PAUSE_S)
        began = time.perf_counter()
        assert await peer.submit(tasks.add_one, len(times)) == len(times) + 1
        times.append(time.perf_counter() - began)
    cpu_us = 1e-3 * (cpu.used_ns(processes) - before_ns) / len(times)
    return {"paced_us": percentiles(times, 1e6), "cpu_us": cpu_us}


async def echo(peer, seconds):
    data = bytes(range(256)) * 4096  # 1 MiB
    back, _, times = await one_by_one(peer, tasks.echo, data, seconds)
    assert back == data
    return percentiles(times, 1e3)


async def one_by_one(peer, function, value, seconds):
    """Gives each call what the one before gave.

    What the last gave, the number of calls, and how many seconds they took; the
    first quarter of the time warms up.
    """
    warm = time.perf_counter() + seconds / 4
    calls = 0
    while time.perf_counter() < warm:
        value = await peer.submit(function, value)
        calls += 1
    times = []
    end = time.perf_counter() + seconds
    while len(times) < 10 or time.perf_counter() < end:
        began = time.perf_counter()
        value = await peer.submit(function, value)
        times.append(time.perf_counter() - began)
        calls += 1
    return value, calls, times


async def throughput(peer, sizes):
    """Trivial tasks a second, so many submitted at once and all awaited, again and again."""
    await peer.submit_many(tasks.add_one, range(sizes.batch // 10))
    done = 0
    began = time.perf_counter()
    while done == 0 or time.perf_counter() - began < sizes.seconds:
        results = await peer.submit_many(tasks.add_one, range(done, done + sizes.batch))
        assert results[-1] == done + sizes.batch
        done += sizes.batch
    return done / (time.perf_counter() - began)


async def twenty(peer, seconds):
    """How long 20 tasks of so much CPU time take, in seconds."""
    began = time.perf_counter()
    submitted = [peer.submit(tasks.burn, index, seconds) for index in range(20)]
    assert [await one for one in submitted] == list(range(20))
    return time.perf_counter() - began


def percentiles(times, scale):
    times = sorted(times)
    at = lambda share: scale * times[min(len(times) - 1, int(share * len(times)))]
    return {"p50": at(0.5), "p99": at(0.99), "n": len(times)}
