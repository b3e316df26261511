"""The pools with the interface of concurrent.futures: the standard library's, and loky."""

import asyncio

from .peer import Peer


class Executor(Peer):
    cancel_means = ("Future.cancel()", True)

    def submit(self, function, *args):
        return asyncio.wrap_future(self.pool.submit(function, *args))

    async def cancel(self, submitted):
        submitted.cancel()  # wrap_future passes it on to the pool's future


class ProcessPool(Executor):
    async def start(self, workers, scratch):
        from concurrent.futures import ProcessPoolExecutor

        self.pool = ProcessPoolExecutor(workers)

    async def stop(self):
        await asyncio.to_thread(self.pool.shutdown, wait=True, cancel_futures=True)


class Loky(Executor):
    async def start(self, workers, scratch):
        from loky import get_reusable_executor

        self.reusable = lambda: get_reusable_executor(max_workers=workers)

    @property
    def pool(self):
        """The pool, or a new one if it broke: loky's users ask for it each time."""
        return self.reusable()

    async def stop(self):
        await asyncio.to_thread(self.pool.shutdown, wait=True, kill_workers=True)
