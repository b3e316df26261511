"""Tasks of Python beside a native worker, to which the scheduler gives some."""

import asyncio
import operator
import sys

from distributed import Client


async def main():
    async with Client(sys.argv[1], asynchronous=True) as client:
        await client.wait_for_workers(2)
        workers = (await client.scheduler.identity())["workers"].values()
        names = {name for worker in workers for name in worker["resources"]}
        (double,) = [name for name in names if name.startswith("outboard:double:")]
        futures = client.map(operator.neg, range(200), pure=False)
        assert await client.gather(futures) == [-n for n in range(200)]
        rust = operator.attrgetter("outboard::double")
        on_result = client.submit(rust, futures[3], resources={double: 1})
        assert await on_result == -6
        assert await client.submit(operator.neg, on_result) == 6
        # An alias and plain data, which are no calls.
        graph = {"data": 5, "other": "data", "sum": (operator.add, "other", "data")}
        assert await client.get(graph, "sum", sync=False) == 10
        print("all is well")


asyncio.run(main())
