"""What Python's users ask of all workers of a cluster, some of which are native."""

import asyncio
import sys

from distributed import Client

client = Client(sys.argv[1], timeout=60)
client.wait_for_workers(2, timeout=60)
workers = client.scheduler_info(n_workers=-1)["workers"]
native = [a for a, w in workers.items() if "outboard:native" in w["resources"]]
python = [a for a in workers if a not in native]
assert (len(native), len(python)) == (1, 1), workers


def add(x):
    return x + 1


assert client.submit(add, 1, workers=python, pure=False).result(timeout=60) == 2
assert client.profile()["identifier"] == "root"
assert client.profile(server=True)["identifier"] == "root"
assert client.profile(workers=native)["count"] == 0
assert isinstance(client.story("x"), list)
assert client.call_stack() is not None
assert client.get_worker_logs()[native[0]] == ()
assert set(client.benchmark_hardware()) == {"disk", "memory", "network"}
ran = client.run(lambda: 7)
assert ran == {native[0]: None, python[0]: 7}, ran


async def seven():
    return 7


assert client.run(seven) == ran
versions = client.get_versions(check=True)
assert native[0] in versions["workers"]


async def rpc(dask_scheduler):
    times = await dask_scheduler.get_profile_metadata()
    seen = await dask_scheduler.get_worker_monitor_info()
    recent = await dask_scheduler.get_worker_monitor_info(recent=True)
    later = await dask_scheduler.get_worker_monitor_info(starts=dict.fromkeys(seen, 1000000))
    state = await dask_scheduler.get_cluster_state(exclude=[])
    return times, seen, recent, later, state["workers"]


times, seen, recent, later, states = client.run_on_scheduler(rpc)
assert times["counts"], times
mine = set(seen[native[0]]["range_query"])
assert mine <= set(seen[python[0]]["range_query"]), mine
assert seen[native[0]]["range_query"]["memory"][0] > 1 << 20
assert recent[native[0]]["range_query"]["memory"] > 1 << 20
assert later[native[0]]["range_query"]["memory"] in ((), [])
assert states[native[0]]["address"] == native[0], states


async def network(one, other, dask_scheduler):
    return await dask_scheduler.rpc(one).benchmark_network(address=other)


# A native worker says again what others send to measure the way to it.
there = client.run_on_scheduler(network, python[0], native[0])
assert there and all(bandwidth > 0 for bandwidth in there.values()), there
assert client.run_on_scheduler(network, native[0], python[0]) == {}


async def upload(worker, dask_scheduler):
    return await dask_scheduler.rpc(worker).upload_file(filename="x.py", data=b"x = 1", load=False)


assert client.run_on_scheduler(upload, native[0]) == {"status": "OK", "nbytes": 5}
print("all is well")
