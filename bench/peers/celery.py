"""Celery: a prefork worker, and Redis as broker and for the results."""

import asyncio
import os
import subprocess
import sys

from .peer import Peer, as_coroutine
from .ports import free_port, until_it_listens


class Celery(Peer):
    """Celery has nothing to await: a thread waits for each result, as users do it."""

    timeout_means = ("time_limit", True)
    cancel_means = ("revoke(terminate=True, SIGKILL)", True)

    async def start(self, workers, scratch):
        port = free_port()
        redis = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        redis += ["--appendonly", "no", "--dir", scratch, "--logfile", f"{scratch}/redis.log"]
        self.redis = subprocess.Popen(redis, stdout=sys.stderr)
        await asyncio.to_thread(until_it_listens, port, self.redis)
        os.environ["BENCH_REDIS"] = f"redis://127.0.0.1:{port}/0"
        worker = [sys.executable, "-m", "celery", "-A", "peers.celery_tasks", "worker"]
        worker += ["--pool", "prefork", "--concurrency", str(workers), "--loglevel", "WARNING"]
        worker += ["--without-gossip", "--without-mingle"]
        self.worker = subprocess.Popen(worker, stdout=sys.stderr)
        from . import celery_tasks

        self.tasks = celery_tasks.TASKS

    async def stop(self):
        for process in (self.worker, self.redis):
            process.terminate()
            try:
                await asyncio.to_thread(process.wait, 10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def submit(self, function, *args, **options):
        return Submitted(self.tasks[function.__name__].apply_async, args, options)

    async def submit_many(self, function, items):
        task = self.tasks[function.__name__]

        def all_results():
            return [result.get() for result in [task.apply_async((item,)) for item in items]]

        return await asyncio.to_thread(all_results)

    async def submit_within(self, seconds, function, *args):
        return await as_coroutine(self.submit(function, *args, time_limit=seconds))

    async def cancel(self, submitted):
        result = await asyncio.wrap_future(submitted.result)
        await asyncio.to_thread(result.revoke, terminate=True, signal="SIGKILL")


class Submitted:
    """A task that a thread of its own submits and waits for."""

    def __init__(self, apply_async, args, options):
        from concurrent.futures import Future

        self.result = Future()
        self.value = asyncio.ensure_future(asyncio.to_thread(self.run, apply_async, args, options))

    def run(self, apply_async, args, options):
        self.result.set_result(apply_async(args, **options))
        return self.result.result().get()

    def __await__(self):
        return self.value.__await__()
