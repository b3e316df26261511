"""What a peer has to offer so that all can be asked the same."""

import asyncio


class Peer:
    """A pool of two workers that an asyncio server uses.

    A subclass says how its users do these things; what it does not say is what
    asyncio itself offers.
    """

    #: How a task gets a timeout, and whether the peer itself knows of it.
    timeout_means = ("asyncio.wait_for", False)
    #: The strongest documented way to end a task that runs, likewise.
    cancel_means = ("", False)

    async def start(self, workers, scratch):
        """Starts all that the pool needs, servers included."""
        raise NotImplementedError

    async def stop(self):
        """Ends all that `start` has started."""
        raise NotImplementedError

    def submit(self, function, *args):
        """Starts a task now, and gives something to await."""
        raise NotImplementedError

    async def submit_many(self, function, items):
        """The results of one task for each item, all submitted at once."""
        return await asyncio.gather(*[self.submit(function, item) for item in items])

    async def submit_within(self, seconds, function, *args):
        """As submit, with a timeout."""
        return await asyncio.wait_for(as_coroutine(self.submit(function, *args)), seconds)

    async def cancel(self, submitted):
        """Ends the task of what `submit` gave, as `cancel_means` says."""
        raise NotImplementedError


async def as_coroutine(awaitable):
    return await awaitable
