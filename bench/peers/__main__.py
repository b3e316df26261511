"""Asks one peer for one part, and prints one JSON object: `python -m peers NAME PART ...`."""

import argparse
import asyncio
import importlib
import json

from .crash import crash
from .speed import speed
from .stop import stop

PEERS = {
    "dask": (".dask", "Dask"),
    "celery": (".celery", "Celery"),
    "ray": (".ray", "Ray"),
    "processpool": (".executors", "ProcessPool"),
    "loky": (".executors", "Loky"),
}
PARTS = {"speed": speed, "crash": crash, "stop": stop}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--burn-seconds", type=float, required=True)
    parser.add_argument("--task-seconds", type=float, required=True)
    parser.add_argument("--scratch", required=True)
    sizes = parser.parse_args()
    module, name = PEERS[sizes.peer]
    peer = getattr(importlib.import_module(module, __package__), name)()
    figures = asyncio.run(PARTS[sizes.part](peer, sizes))
    print(json.dumps({"peer": sizes.peer, "part": sizes.part, **figures}), flush=True)


if __name__ == "__main__":
    main()
