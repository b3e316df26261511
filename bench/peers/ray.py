"""Ray: remote functions on one machine, without the dashboard."""

import asyncio
import os
import secrets
import tempfile

from .peer import Peer


class Ray(Peer):
    cancel_means = ("ray.cancel(force=True)", True)

    async def start(self, workers, scratch):
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        # Without one of ours it writes one into the user's home.
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        # Ray replaces 127.0.0.1 by the machine's own address, unless it is told that this
        # machine takes no part in a cluster.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        import ray

        # Its sockets' paths have to be short.
        self.directory = tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True)
        options = dict(
            num_cpus=workers,
            include_dashboard=False,
            object_store_memory=256 * 1024 * 1024,
            log_to_driver=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=self.directory.name,
        )
        await asyncio.to_thread(ray.init, **options)
        self.ray = ray
        self.remote = {}

    async def stop(self):
        await asyncio.to_thread(self.ray.shutdown)
        self.directory.cleanup()

    def submit(self, function, *args):
        if function not in self.remote:
            self.remote[function] = self.ray.remote(function)
        return self.remote[function].remote(*args)

    async def cancel(self, submitted):
        self.ray.cancel(submitted, force=True)
