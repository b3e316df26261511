"""Dask distributed: a scheduler in this process, worker processes with their nannies."""

from .peer import Peer


class Dask(Peer):
    cancel_means = ("Future.cancel(force=True)", True)

    async def start(self, workers, scratch):
        from distributed import Client, LocalCluster

        self.cluster = await LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            local_directory=scratch,
            asynchronous=True,
        )
        self.client = await Client(self.cluster, asynchronous=True)

    async def stop(self):
        await self.client.close()
        await self.cluster.close()

    def submit(self, function, *args):
        # Not pure: equal calls are to be computed each.
        return self.client.submit(function, *args, pure=False)

    async def submit_many(self, function, items):
        return await self.client.gather(self.client.map(function, items, pure=False))

    async def cancel(self, submitted):
        await self.client.cancel([submitted], force=True)
