"""What the bench puts its client beside: Dask's own, asked over stdin."""

import asyncio
import json
import operator
import sys
import time

from distributed import Client


async def roundtrips(client, tasks):
    """The seconds that each of so many tasks takes, one after the other."""
    times = []
    for number in range(tasks):
        start = time.perf_counter()
        value = await client.submit(operator.neg, number, pure=False)
        times.append(time.perf_counter() - start)
        assert value == -number
    return times


async def batch(client, tasks):
    """How many a second of so many tasks at once."""
    start = time.perf_counter()
    futures = client.map(operator.neg, range(tasks), pure=False)
    values = await client.gather(futures)
    rate = tasks / (time.perf_counter() - start)
    assert values == [-number for number in range(tasks)]
    return [rate]


async def main(address):
    measures = {"roundtrips": roundtrips, "batch": batch}
    loop = asyncio.get_running_loop()
    async with Client(address, asynchronous=True) as client:
        print(json.dumps([]), flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            name, tasks = line.split()
            print(json.dumps(await measures[name](client, int(tasks))), flush=True)


asyncio.run(main(sys.argv[1]))
