"""What is asked of whom, how often, and which keys every answer has."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    title: str
    #: `python` or `rust`.
    language: str
    #: What pip installs for it, or the crate's name.
    packages: tuple = ()


#: In the order of the tables: what is ours first. The names of ours begin with `outboard`.
PEERS = {
    "outboard": Peer("Outboard", "rust", ("outboard",)),
    "outboard_python": Peer("Outboard, Python workers", "rust", ("outboard",)),
    "spawn_blocking": Peer("tokio `spawn_blocking`", "rust", ("tokio",)),
    "procspawn": Peer("procspawn", "rust", ("procspawn",)),
    "processpool": Peer("ProcessPoolExecutor", "python"),
    "loky": Peer("loky", "python", ("loky",)),
    "ray": Peer("Ray", "python", ("ray",)),
    "celery": Peer("Celery, Redis", "python", ("celery", "redis", "msgpack")),
    "dask": Peer("Dask distributed", "python", ("distributed",)),
}

WORKERS = 2

FULL = {
    "workers": WORKERS,
    "seconds": 1.0,
    "batch": 1000,
    "burn_seconds": 0.1,
    "task_seconds": 3.0,
    # A list for each round: which parts it has. Peers take turns within a part.
    "rounds": [["speed", "crash", "stop"], ["speed"], ["speed"], ["speed"], ["speed", "crash", "stop"]],
    "limit_s": 180,
}
QUICK = FULL | {
    "seconds": 0.1,
    "batch": 100,
    "burn_seconds": 0.01,
    "task_seconds": 1.2,
    "rounds": [["speed", "crash", "stop"]],
}

PERCENTILES = ("p50", "p99", "n")
STOP = (
    "how", "own", "error", "error_ms", "started", "stopped", "cpu_free_ms", "works_after", "next_result_ms",
)  # fmt: skip

#: The keys of each part's answer, and of the objects within it.
KEYS = {
    "speed": {
        "first_result_ms": (),
        "roundtrip_us": PERCENTILES,
        "paced_us": PERCENTILES,
        "cpu_us": (),
        "throughput_per_s": (),
        "echo_ms": PERCENTILES,
        "twenty_s": (),
    },
    "crash": dict.fromkeys(
        (
            "error", "error_ms", "crash_starts", "told_while_sibling_ran", "sibling", "sibling_starts",
            "waiting", "waiting_finished", "works_after", "next_result_ms", "server",
        ),
        (),
    ),
    "stop": {"timeout": STOP, "drop": STOP, "cancel": STOP},
}  # fmt: skip


def complaints(results):
    """What is missing in the results: runs that failed, and keys, by their names."""
    found = []
    for name, parts in results["peers"].items():
        for part, answers in parts.items():
            for answer in answers:
                found += [f"{name}, {part}: {one}" for one in lacks(part, answer)]
    return found


def lacks(part, answer):
    """What an answer lacks of a part's keys."""
    if "failed" in answer:
        return [answer["failed"]]
    missing = []
    for key, inner in {"peer": (), "part": (), **KEYS[part]}.items():
        if key not in answer:
            missing.append(f"no key {key}")
        else:
            missing += [f"no key {key}.{name}" for name in inner if name not in answer[key]]
    return missing
