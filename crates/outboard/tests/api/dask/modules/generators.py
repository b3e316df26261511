"""What `generator.py` promises to a client: reads its streams as one does."""

import asyncio
import pickle
import sys
import types
from pathlib import Path

from distributed import Client

SOURCE = Path(__file__).parents[4] / "src/engine/dask/generator.py"


def load(source):
    module = types.ModuleType("outboard_generator_test")
    exec(compile(source, "generator.py", "exec"), module.__dict__)
    return sys.modules.setdefault(module.__name__, module)


def stream(source, topic, key, function, args):
    return load(source).run(topic, key, function, args)


def count(to):
    yield from range(to)
    return "done"


def fail():
    yield 1
    raise ValueError("enough")


def flood():
    while True:
        yield b"x" * 1000


class Reader:
    """Asks for items, and says that it takes all of them, or none."""

    def __init__(self, client, begun, takes=True):
        self.client, self.begun, self.takes = client, begun, takes
        self.received = self.taken = 0

    async def ask(self, wait_ms=500):
        asked = {"op": "outboard_items", "name": self.begun["stream"], "wait_ms": wait_ms}
        asked |= {"received": self.received, "taken": self.taken}
        answer = await self.client.scheduler.proxy(msg=asked, worker=self.begun["worker"])
        if answer["items"] is None:
            return None, True
        data, items = bytes(answer["items"]), []
        while data:
            length = int.from_bytes(data[:8], "little")
            items.append(pickle.loads(data[8 : 8 + length]))
            data = data[8 + length :]
        return items, answer["ended"]

    async def all(self):
        every = []
        while True:
            items, ended = await self.ask()
            if ended and not items:
                return every
            # An answer that was lost is given again.
            again, _ = await self.ask()
            assert again[: len(items)] == items, (again, items)
            every += items
            self.received += len(items)
            self.taken = 1 << 40 if self.takes else 0


async def main(address):
    async with Client(address, asynchronous=True) as client:
        begun = asyncio.Queue()

        def hear(event):
            if event[1].get("action") == "outboard-stream":
                begun.put_nowait(event[1])

        client.subscribe_topic(client.id, hear)
        source = SOURCE.read_text()

        def submit(function, *args):
            key = f"{function.__name__}-{len(args)}"
            return client.submit(stream, source, client.id, key, function, args, key=key)

        future = submit(count, 5000)
        assert await Reader(client, await begun.get()).all() == list(range(5000))
        assert pickle.loads(await future) == "done"

        future = submit(fail)
        assert await Reader(client, await begun.get()).all() == [1]
        assert "enough" in str(await future.exception())

        future = submit(flood)
        reader = Reader(client, await begun.get(), takes=False)
        items = []
        while len(items) < 200:
            more, _ = await reader.ask()
            items, reader.received = items + more, reader.received + len(more)
        await asyncio.sleep(0.5)
        more, _ = await reader.ask(0)
        # Each counts 24 bytes beside its pickle.
        size = len(pickle.dumps(items[0], 4)) + 24
        assert len(items) + len(more) == (256 << 10) // size, len(items)
        await future.cancel()
        while await client.run(lambda dask_worker: dask_worker.state.executing_count) != {
            reader.begun["worker"]: 0
        }:
            await asyncio.sleep(0.05)
        while (await reader.ask(0))[0] is not None:
            await asyncio.sleep(0.05)
    print("fine")


asyncio.run(main(sys.argv[1]))
