"""Dask's own client, with Rust functions on native workers."""

import asyncio
import decimal
import operator
import sys

from distributed import Client, wait


def rust(name):
    return operator.attrgetter("outboard::" + name)


async def resources(client):
    """The resource of each function, by its name."""
    workers = (await client.scheduler.identity())["workers"].values()
    names = {name for worker in workers for name in worker["resources"]}
    functions = {name for name in names if not name.startswith("pool-")}
    return {name.split(":", 1)[1].rsplit(":", 1)[0]: {name: 1} for name in functions}


async def fails(future, kind, *words):
    try:
        await future
    except kind as error:
        assert all(word in str(error) for word in words), error
        return error
    raise AssertionError(f"{words} is expected")


async def values(client, offered):
    def submit(name, *args, **options):
        return client.submit(rust(name), *args, resources=offered[name], pure=False, **options)

    assert await submit("double", 21) == 42
    mixed = await submit("values", "ab", b"\0\xff", [1, 2.5], {"x": None, "y": True})
    assert mixed == (2, {"ab": b"\0\xff"}, [1.0, 2.5], ["x", "y"]), mixed
    futures = client.map(rust("double"), range(100), resources=offered["double"])
    assert await client.gather(futures) == [2 * n for n in range(100)]
    # Results of others as arguments, wherever they are.
    there = [submit("double", n, workers=[worker]) for n, worker in enumerate(await workers(client))]
    assert await submit("double", there[1], workers=[(await workers(client))[0]]) == 4
    parts = submit("values", "", b"", [submit("double", 1), 1], {})
    assert (await parts)[2] == [2.0, 1.0]
    assert len(await submit("large", 3_000_000)) == 3_000_000


async def errors(client, offered):
    def submit(name, *args, **options):
        return client.submit(rust(name), *args, resources=offered[name], pure=False, **options)

    error = await fails(submit("wrong", "oops"), RuntimeError, "panicked", "oops")
    assert any("wrong" in note for note in error.__notes__), error.__notes__
    await fails(submit("wrong", "abort"), RuntimeError, "SIGABRT")
    await fails(submit("double", submit("wrong", "before")), RuntimeError, "before")
    await fails(submit("double", "x"), TypeError, "i64")
    await fails(submit("double", 1, 2), TypeError, "1 argument")
    await fails(submit("double", 2**70), TypeError)
    await fails(submit("double", decimal.Decimal(1)), TypeError, "decimal.Decimal")
    await fails(submit("double", n=1), TypeError, "by name")
    await fails(client.submit(rust("nothing"), 1), LookupError, "nothing")
    await fails(client.submit(operator.add, 1, 2), NotImplementedError, "add")
    await fails(client.submit(len, "abc"), NotImplementedError)
    ran = await client.run(len, "abc", on_error="return")
    assert {type(value) for value in ran.values()} == {NotImplementedError}, ran
    assert await submit("double", 4) == 8


async def cancelled(client, offered):
    def nap(ms):
        return client.submit(rust("nap"), ms, resources=offered["nap"], pure=False)

    endless = [nap(3_600_000 + n) for n in range(6)]
    while sum(map(len, (await client.scheduler.processing(workers=None)).values())) < 6:
        await asyncio.sleep(0.01)
    await client.cancel(endless)
    await asyncio.wait_for(nap(1), 30)


async def workers(client):
    return sorted((await client.scheduler.identity())["workers"])


async def data(client, offered):
    scattered = await client.scatter({"number": 41, "bytes": b"raw", "list": [1, 2]})
    assert await scattered["bytes"] == b"raw"
    assert await scattered["list"] == [1, 2]
    doubled = client.submit(rust("double"), scattered["number"], resources=offered["double"])
    assert await doubled == 82
    args = ("", b"", scattered["list"], {})
    listed = client.submit(rust("values"), *args, resources=offered["values"])
    assert (await listed)[2] == [1.0, 2.0]
    (everywhere,) = await client.scatter([7], broadcast=True)
    assert len((await client.who_has([everywhere]))[everywhere.key]) == 2
    one = client.submit(rust("double"), 5, resources=offered["double"])
    await wait(one)
    await client.replicate([one])
    assert len((await client.who_has([one]))[one.key]) == 2


async def stolen(client, offered):
    """What waits at one worker is taken by another that has nothing to do."""
    first = (await workers(client))[0]
    futures = [
        client.submit(
            rust("nap"), 100, resources=offered["nap"], pure=False,
            workers=[first], allow_other_workers=True,
        )
        for _ in range(40)
    ]
    await wait(futures)
    places = await client.who_has(futures)
    elsewhere = [place for place in places.values() if first not in place]
    assert len(elsewhere) >= 1, places


async def retired(client, offered):
    """What a worker holds is handed over when it is retired."""
    first, second = await workers(client)
    kept = client.submit(
        rust("double"), 11, resources=offered["double"], workers=[first], allow_other_workers=True
    )
    (scattered,) = await client.scatter([b"scattered"], workers=[first])
    await wait(kept)
    assert list(await client.retire_workers([first])) == [first]
    while await workers(client) != [second]:
        await asyncio.sleep(0.01)
    assert await kept == 22
    assert await scattered == b"scattered"
    assert (await client.who_has([scattered]))[scattered.key] == (second,)


async def main():
    async with Client(sys.argv[1], asynchronous=True) as client:
        await client.wait_for_workers(2)
        offered = await resources(client)
        for part in [values, errors, cancelled, data, stolen, retired]:
            print(part.__name__, flush=True)
            await asyncio.wait_for(part(client, offered), 60)
        assert len(await client.scheduler.versions()) > 0
        print("all is well")


asyncio.run(main())
