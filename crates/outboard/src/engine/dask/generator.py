"""Sends what a Python function gives on a Dask worker, item by item, to a client made
with Outboard, which asks the worker for it. Outboard's tasks bring this along."""

import asyncio
import collections
import pickle
import threading
import uuid

from distributed import Reschedule, get_worker
from distributed.protocol import to_serialize

# So many bytes may be out that the reader did not take, and what each item counts
# beside its own; both as `value/channel.rs` has them.
WINDOW, ITEM = 256 << 10, 24
# Seconds after which a thread that waits looks whether its task is still wanted.
LOOK = 0.25
PROTOCOL = 4

# Streams by their names.
_streams = {}


def run(topic, key, function, args):
    """Calls a function and sends what it gives; the pickle of what it returns."""
    worker = get_worker()
    _answer_clients(worker)
    stream = _Stream(worker, key)
    _streams[stream.name] = stream
    said = {"action": "outboard-stream", "key": key, "stream": stream.name}
    try:
        worker.log_event(topic, said)
        try:
            output = pickle.dumps(stream.send_all(function(*args)), PROTOCOL)
        except Reschedule:
            raise
        except BaseException:
            # It is raised when all that was sent before has arrived.
            stream.end()
            raise
        stream.end()
        return output
    finally:
        del _streams[stream.name]


def _answer_clients(worker):
    before = worker.handlers.get("outboard_items")
    if getattr(before, "streams", None) is _streams:
        return

    async def items(received, taken, name, wait_ms=None):
        stream = _streams.get(name)
        if stream is not None:
            return await stream.answer(received, taken, wait_ms)
        # One of Rust's, beside this worker.
        return await before(received, taken, name, wait_ms) if before else {"items": None}

    items.streams = _streams
    items.protocol = getattr(before, "protocol", None)
    worker.handlers["outboard_items"] = items


class _Stream:
    def __init__(self, worker, key):
        self.worker, self.key = worker, key
        self.name = f"python/{uuid.uuid4().hex}"
        self.loop = worker.loop.asyncio_loop
        self.changed = threading.Condition()
        # All of these are guarded by it: what has not arrived, the number of its first,
        # bytes sent and taken, and who waits for items.
        self.unread, self.first, self.ended = collections.deque(), 0, False
        self.sent = self.taken = 0
        self.waiting = set()

    # On the thread of the task.

    def send_all(self, iterable):
        iterator = iter(iterable)
        try:
            while True:
                try:
                    item = next(iterator)
                except StopIteration as stop:
                    return stop.value
                item = pickle.dumps(item, PROTOCOL)
                self._send(item)
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    def _send(self, item):
        cost = ITEM + len(item)
        with self.changed:
            # One of any size may be out.
            self._wait(lambda: self.sent <= self.taken or self._out() + cost <= WINDOW)
            self.unread.append(item)
            self.sent += cost
            self._wake()

    def _out(self):
        return self.sent - self.taken

    def end(self):
        """Waits until all has arrived."""
        with self.changed:
            self.ended = True
            self._wake()
            self._wait(lambda: not self.unread)

    def _wait(self, done):
        """A task that nobody wants any more ends here."""
        while True:
            task = self.worker.state.tasks.get(self.key)
            if task is None or task.state not in ("executing", "long-running"):
                raise Reschedule()
            if done():
                return
            self.changed.wait(LOOK)

    def _wake(self):
        for event in self.waiting:
            self.loop.call_soon_threadsafe(event.set)

    # On the worker's loop.

    async def answer(self, received, taken, wait_ms):
        event = asyncio.Event()
        with self.changed:
            self.taken = max(self.taken, taken)
            if not 0 <= received - self.first <= len(self.unread):
                self.changed.notify_all()
                return {"items": None}
            for _ in range(received - self.first):
                self.unread.popleft()
            self.first = received
            self.changed.notify_all()
            if wait_ms is None:
                return {"items": to_serialize(b""), "ended": False}
            news = self.unread or self.ended
            if not news:
                self.waiting.add(event)
        if not news:
            try:
                await asyncio.wait_for(event.wait(), min(wait_ms, 20_000) / 1000)
            except asyncio.TimeoutError:
                pass
        with self.changed:
            self.waiting.discard(event)
            if self.first != received:
                return {"items": None}
            items = b"".join(len(item).to_bytes(8, "little") + item for item in self.unread)
            return {"items": to_serialize(items), "ended": self.ended}
