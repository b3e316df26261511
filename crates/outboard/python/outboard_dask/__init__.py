"""Rust functions on ordinary Dask workers: a worker plugin that keeps a program
made with Outboard running beside its worker, and passes tasks on to it.

A client in Rust ships this very file (`dask://host:8786?plugin=/path`). Installed,
it is used without: `client.register_plugin(outboard_dask.Plugin("/path"))`, or
`dask worker --preload outboard_dask` with OUTBOARD_PLUGIN=/path.

For clients in Python, `function` names a function of native workers.
"""

from __future__ import annotations

import asyncio
import logging
import operator
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from distributed import Reschedule, WorkerPlugin, get_worker
from distributed.core import Status
from distributed.protocol import to_serialize

__all__ = ["Plugin", "TaskFailed", "call", "dask_setup", "function", "report", "resources"]

# What is said between plugin and program, and between client and plugin; also
# in the name by which tasks know this module, whichever copy was loaded first.
PROTOCOL = 3
sys.modules.setdefault(f"outboard_dask_v{PROTOCOL}", sys.modules[__name__])

# Names the program where the client does not.
PROGRAM = "OUTBOARD_PLUGIN"
# Tells the program what it is.
VARIABLE = "OUTBOARD_PLUGIN_OF"

# What the resource of a pool begins with: `--resources "pool-gpu=2"`.
POOL = "pool-"

# So much of each resource that it never runs out.
PLENTY = 1e9
# Seconds: how long a program may take to be ready, and a worker waits for that
# before it joins; how long a program without tasks is kept; the pauses before it
# is started again, at first and at most; how long it may take to end.
READY, JOIN, IDLE, PAUSE, LONGEST_PAUSE, END = 90.0, 10.0, 600.0, 0.1, 5.0, 2.0

# What a program is asked, by the first byte, and what it says before its answer.
ITEMS, PROGRESS, NOTICE = 1, 2, 2

logger = logging.getLogger("outboard.dask")

# Programs by the worker that they are beside, and by their build.
_programs: dict[tuple[str, str], _Program] = {}


class Plugin(WorkerPlugin):
    """Keeps a program beside a Dask worker.

    `program` is a path on the worker's machine, by default what the variable
    OUTBOARD_PLUGIN says there. With `build`, no other build of it is accepted.
    `options` are those of `local://`, as in a URL.
    """

    idempotent = True

    def __init__(self, program: str | None = None, build: str | None = None, options: str = ""):
        self.program, self.build, self.options = program, build, options
        self.name = f"outboard-{build or program}"

    def __getstate__(self):
        names = ("program", "build", "options", "name")
        return {name: getattr(self, name) for name in names}

    async def setup(self, worker):
        _answer_clients(worker)
        self._program = _Program(worker, self.program, self.build, self.options)
        await self._program.known(JOIN)

    async def teardown(self, worker):
        await asyncio.get_running_loop().run_in_executor(None, self._program.close)

    def transition(self, key, start, finish, **kwargs):
        self._program.transition(key, start, finish)


async def dask_setup(worker):
    """What `dask worker --preload outboard_dask` calls."""
    await worker.plugin_add(plugin=Plugin())


def call(build, key, request):
    """What a client's task calls; what it asks is the program's business."""
    program = _programs.get((get_worker().id, build))
    if program is None:
        raise RuntimeError(f"this worker has no program of the build {build}")
    return program.call(key, request)


def _answer_clients(worker):
    """Has a worker answer clients that ask for items of streams, and for progress."""
    before = worker.handlers.get("outboard_items")
    if getattr(before, "protocol", None) == PROTOCOL:
        return

    async def items(received, taken, name, wait_ms=None):
        build, _, stream = name.partition("/")
        program = _programs.get((worker.id, build))
        if program is not None:
            return await program.items(received, taken, stream, wait_ms)
        # That of another version of this module.
        return await before(received, taken, name, wait_ms) if before else {"items": None}

    async def progress(keys):
        mine = [program for (at, _), program in list(_programs.items()) if at == worker.id]
        said = await asyncio.gather(*(program.progress(keys) for program in mine))
        return {"progress": [one for some in said for one in some]}

    items.protocol = PROTOCOL
    worker.handlers["outboard_items"] = items
    worker.handlers["outboard_progress"] = progress


async def report(build, wait_s, dask_worker):
    """Why a program is not to be had beside a worker; empty if it is."""
    plugin = dask_worker.plugins.get(f"outboard-{build}")
    if plugin is None:
        return b"the plugin is not there"
    return ((await plugin._program.known(wait_s)) or "").encode()


class function:
    """A function of native workers, by its name in Rust: `function("app::fib")`.

    That is its latest version; `function("app::fib@1")` is version 1.

    A `Result` of Rust is a dict, `{"Ok": value}` or `{"Err": error}`. With `raises`, the
    value comes alone, and an `Err` is raised: `ValueError(error)`.

    Native workers and schedulers see what every Python has, an `operator.attrgetter`;
    Dask's dashboard shows the name.
    """

    def __init__(self, name, raises=False):
        self.__name__ = self.__qualname__ = name
        self.raises = raises

    def __reduce__(self):
        prefix = "outboard-raises" if self.raises else "outboard"
        return operator.attrgetter, (f"{prefix}::{self.__name__}",)

    def __dask_tokenize__(self):
        return "outboard", self.__name__, self.raises

    def __call__(self, *args):
        raise TypeError(f"{self.__name__} runs on native workers: submit it with `resources`")


def resources(client, function, pool=None):
    """What a worker must have to run a function: for `resources` of `client.submit`.

    With `pool`, it has that pool of workers as well. With an asynchronous client it is to be
    awaited, as that client's own methods are.
    """
    return client.sync(_resources, client, function, pool)


async def _resources(client, function, pool):
    # An asynchronous client keeps no workers in what it knows of the scheduler.
    known = await client.scheduler.identity(n_workers=-1)
    offered = {name for worker in known["workers"].values() for name in worker["resources"]}
    name, _, version = function.__name__.partition("@")
    found = [one.rpartition(":") for one in offered if one.startswith(f"outboard:{name}:")]
    numbers = {"".join(one): int(one[2].partition(".")[0]) for one in found}
    wanted = int(version or max(numbers.values(), default=0))
    needed = [one for one, number in numbers.items() if number == wanted]
    if len(needed) != 1:
        raise LookupError(f"{len(needed)} kinds of workers offer {function.__name__}")
    return {needed[0]: 1, **({f"{POOL}{pool}": 1} if pool else {})}


class TaskFailed(RuntimeError):
    """A line, and all that the program says of the failure, for clients in Rust."""

    def __str__(self):
        # Dask cuts an exception down to its text, and loses the rest, if that is long.
        return self.args[0][:1000]


class _Call:
    """A call that is under way, by the connection that it has."""

    def __init__(self, connection):
        self.connection, self.cancelled = connection, False


class _Program:
    """The program beside one worker, and the thread that keeps it.

    That thread starts it, so that the program ends with it: a signal tells it of
    the end of the thread that started it, and the end of its stdin tells it too.
    """

    def __init__(self, worker, path, build, options):
        self.worker, self.path, self.build, self.options = worker, path, build, options
        self.loop = asyncio.get_running_loop()
        self.changed = threading.Condition()
        # All of these are guarded by it.
        self.talking, self.control, self.problem, self.settled = None, None, None, False
        self.wanted, self.closing, self.used = True, False, time.monotonic()
        self.idle, self.calls, self.lost = [], {}, b""
        # Keys that the worker executes, ours and others: the loop's thread alone writes.
        self.executing = set()
        # What is offered, and the file that was refused: of the thread alone.
        self.offered, self.refused = [], None
        self.thread = threading.Thread(target=self._keep, name="outboard", daemon=True)
        self.thread.start()

    # On the worker's loop.

    async def known(self, seconds):
        """What is wrong with it, once that is known."""
        end = time.monotonic() + seconds
        while not self.settled and time.monotonic() < end:
            await asyncio.sleep(0.01)
        return self.problem if self.settled else "it is not ready yet"

    def transition(self, key, start, finish):
        """A key that was executed and is released was cancelled."""
        if finish == "executing":
            self.executing.add(key)
        elif start in ("executing", "cancelled"):
            self.executing.discard(key)
        if start != "executing" or finish != "released":
            return
        with self.changed:
            under_way = self.calls.get(key)
            if under_way is not None:
                under_way.cancelled = True
                _hang_up(under_way.connection)
            self.changed.notify_all()

    async def items(self, received, taken, stream, wait_ms):
        """What a client is answered that asks for the items of a stream."""
        numbers = received, taken, -1 if wait_ms is None else wait_ms
        answer = await self._ask(struct.pack("<BQQq", ITEMS, *numbers) + stream.encode())
        if not answer:
            return {"items": None}
        return {"items": to_serialize(answer[1:]), "ended": bool(answer[0])}

    async def progress(self, keys):
        """How far tasks are, of those that the program executes."""
        keys = [key.encode() for key in keys if key in self.calls]
        if not keys:
            return []
        asked = b"".join(len(key).to_bytes(4, "little") + key for key in keys)
        said = _fields(await self._ask(bytes([PROGRESS]) + asked) or b"")
        numbers = [[int.from_bytes(one, "little") for one in said[at::4]] for at in (1, 2)]
        texts = [[one.decode() for one in said[at::4]] for at in (0, 3)]
        return [list(one) for one in zip(texts[0], *numbers, texts[1])]

    async def _ask(self, question):
        """Asks the program something beside its tasks; None if it is not there."""
        with self.changed:
            if self.control is None:
                return None
            connection = self._connect()
        with connection:
            connection.setblocking(False)
            try:
                length = len(question).to_bytes(8, "little")
                await self.loop.sock_sendall(connection, length + question)
                head = await self._read(connection, 9)
                return await self._read(connection, int.from_bytes(head[:8], "little"))
            except OSError:
                return None

    async def _read(self, connection, length):
        whole = bytearray(length)
        rest = memoryview(whole)
        while rest:
            count = await self.loop.sock_recv_into(connection, rest)
            if count == 0:
                raise ConnectionResetError("it was closed")
            rest = rest[count:]
        return bytes(whole)

    # On a thread that executes tasks.

    def call(self, key, request):
        under_way = self._send(key, request)
        answer = None
        try:
            while answer is None:
                head = _receive(under_way.connection, 9)
                said = _receive(under_way.connection, int.from_bytes(head[:8], "little"))
                if head[8] == NOTICE:
                    self._tell(*(one.decode() for one in _fields(said)))
                else:
                    answer = said
        except OSError:
            pass
        self._end(key, under_way, answer is not None)
        self._check(key, under_way)
        if answer is None:
            raise TaskFailed("the program beside this worker was lost", self.lost)
        if head[8] == 0:
            return answer
        length = int.from_bytes(answer[:4], "little")
        raise TaskFailed(answer[4 : 4 + length].decode(), answer[4 + length :])

    def _tell(self, topic, *said):
        """Tells the client that listens there of a stream that has begun."""
        said = dict(zip(said[::2], said[1::2]))
        said["stream"] = f"{self.build}/{said['stream']}"
        self.worker.log_event(topic, said)

    def _send(self, key, request):
        """Sends a task to a program that takes it: what it has not got whole, it has
        not started."""
        while True:
            under_way = self._begin(key)
            try:
                # It may have been cancelled before this thread came to it.
                if key in self.executing:
                    under_way.connection.sendall(len(request).to_bytes(8, "little"))
                    under_way.connection.sendall(request)
                    return under_way
            except OSError:
                # It has ended, and the thread that keeps it is about to see that.
                time.sleep(PAUSE / 20)
            self._end(key, under_way, False)
            self._check(key, under_way)

    def _check(self, key, under_way):
        """Dask forgets a task that was cancelled, or has another go if somebody wants
        it again."""
        if under_way.cancelled or key not in self.executing:
            raise Reschedule()

    def _begin(self, key):
        with self.changed:
            self.wanted, self.used = True, time.monotonic()
            self.changed.notify_all()
            self.changed.wait_for(lambda: self._may_begin(key), READY)
            if key not in self.executing:
                raise Reschedule()
            if self.control is None:
                problem = self.problem or "it is ending"
                raise TaskFailed(f"{self.path}: {problem}", self.lost)
            connection = self.idle.pop() if self.idle else self._connect()
            under_way = self.calls[key] = _Call(connection)
            return under_way

    def _may_begin(self, key):
        return self.control or self.problem or self.closing or key not in self.executing

    def _connect(self):
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self.control, [b"c"], [theirs.fileno()])
            except OSError:
                # It has just ended: whoever reads from `ours` will see that.
                pass
        return ours

    def _end(self, key, under_way, whole):
        with self.changed:
            self.used = time.monotonic()
            if self.calls.get(key) is under_way:
                del self.calls[key]
            if whole and not under_way.cancelled and self.control is not None:
                self.idle.append(under_way.connection)
            else:
                under_way.connection.close()

    # On the thread that keeps it.

    def close(self):
        with self.changed:
            self.closing = True
            self.changed.notify_all()
            if self.talking is not None:
                _hang_up(self.talking)
        self.thread.join(2 * END)
        if _programs.get((self.worker.id, self.build)) is self:
            del _programs[self.worker.id, self.build]

    def _keep(self):
        pause, said = PAUSE, None
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.wanted or self.closing)
                if self.closing:
                    return
            began = time.monotonic()
            problem = self._run_once()
            if problem is None:
                continue
            if problem != said:
                logger.warning("%s: %s", self.path, problem)
            said = problem
            if time.monotonic() - began > 10 * LONGEST_PAUSE:
                pause = PAUSE
            with self.changed:
                self.changed.wait_for(lambda: self.closing, pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _run_once(self):
        """Starts it, and stays with it to its end; gives why it ended unasked."""
        self.path = self.path or os.environ.get(PROGRAM)
        if not self.path:
            return self._settle(f"the variable {PROGRAM} names no program")
        if self.refused is not None and self.refused == _identity(self.path):
            return self._settle(self.problem)
        self.refused = None
        ours, theirs = socket.socketpair()
        threads = self.worker.state.nthreads
        pools = _pools(self.worker.state.total_resources, threads)
        options = "&".join(filter(None, [f"workers={threads}", *pools, self.options]))
        about = f"{PROTOCOL} {self.worker.contact_address} {options}"
        environment = {**os.environ, VARIABLE: about}
        # Where Python is too old for that, the program does it itself.
        group = {"process_group": 0} if sys.version_info >= (3, 11) else {}
        with ours:
            try:
                with theirs:
                    process = subprocess.Popen([self.path], stdin=theirs, env=environment, **group)
            except OSError as error:
                return self._settle(f"it cannot be started: {error.strerror}")
            with self.changed:
                self.talking = ours
            try:
                problem = self._greet(ours)
                if problem is not None:
                    return self._settle(problem)
                return self._stay(ours, process)
            finally:
                self._clear_away(ours, process)

    def _greet(self, ours):
        ours.settimeout(READY)
        try:
            said = _fields(_receive(ours, int.from_bytes(_receive(ours, 4), "little")))
            if len(said) < 4:
                raise ValueError("it says too little")
        except TimeoutError:
            return "it says nothing: is `outboard::init()` the first thing in its `main`?"
        except (OSError, ValueError):
            return "it ended before it was ready: see the worker's log"
        finally:
            ours.settimeout(None)
        protocol, problem, build, lost, *resources = said
        if protocol.decode() != str(PROTOCOL):
            return f"it speaks version {protocol.decode()} of the plugin's protocol, not {PROTOCOL}"
        if problem:
            return problem.decode()
        if self.build not in (None, build.decode()):
            self.refused = _identity(self.path)
            return f"it is another build ({build.decode()}) than the client's ({self.build})"
        self.build, self.lost = build.decode(), lost
        _programs[self.worker.id, self.build] = self
        with self.changed:
            self.control = ours
        self._offer([resource.decode() for resource in resources])
        return self._settle(None)

    def _stay(self, ours, process):
        poll = select.poll()
        poll.register(ours, select.POLLIN)
        while True:
            ended = poll.poll(1000 * IDLE / 4)
            with self.changed:
                idle = not self.calls and time.monotonic() - self.used > IDLE
                if self.closing or idle:
                    # It is started again for the next task.
                    self.control, self.wanted = None, False
                    return None
                if ended:
                    self.control = None
                    break
        if not _ends(process, END):
            return "it broke off"
        # It is reaped later: until then nobody else has its number.
        how = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        by = "exited with" if how.si_code == os.CLD_EXITED else "ended by signal"
        return f"it {by} {how.si_status}"

    def _clear_away(self, ours, process):
        with self.changed:
            self.talking = self.control = None
            idle, self.idle = self.idle, []
        _hang_up(ours)
        for connection in idle:
            connection.close()
        if not _ends(process, END):
            process.kill()
        try:
            # Its workers, should any be left.
            os.killpg(process.pid, signal.SIGKILL)
        except OSError:
            pass
        process.wait()

    def _settle(self, problem):
        if problem is not None:
            self._offer([])
        with self.changed:
            self.problem, self.settled = problem, True
            self.changed.notify_all()
        return problem

    def _offer(self, resources):
        """Tells the scheduler what this worker can execute from now on."""
        amounts = {resource: 0 for resource in self.offered}
        amounts.update({resource: PLENTY for resource in resources})
        changed, self.offered = self.offered != resources, resources
        if not changed or self.closing:
            return
        try:
            telling = self.worker.set_resources(**amounts)
            asyncio.run_coroutine_threadsafe(telling, self.loop).result(READY)
            if resources:
                self.loop.call_soon_threadsafe(self._take_tasks)
        except Exception as error:
            logger.warning("the scheduler was not told of %s: %r", self.path, error)

    def _take_tasks(self):
        """Has the scheduler look at tasks that wait for what is offered now: it does so
        when a worker takes tasks again, and not when one offers more."""
        if self.worker.status == Status.running:
            for status in ("paused", "running"):
                operation = {"op": "worker-status-change", "status": status}
                self.worker.batched_send({**operation, "stimulus_id": f"outboard-{status}"})


def _pools(resources, threads):
    """The pools of which the worker was given resources, as options of the program."""
    for name, amount in resources.items():
        pool = name.removeprefix(POOL)
        if pool not in (name, "default") and re.fullmatch("[-_A-Za-z0-9]+", pool) and amount >= 1:
            yield f"pool.{pool}.workers={min(int(amount), threads)}"


def _receive(connection, length):
    """So many bytes; OSError if there are fewer."""
    whole = bytearray(length)
    rest = memoryview(whole)
    while rest:
        count = connection.recv_into(rest)
        if count == 0:
            raise ConnectionResetError("it was closed")
        rest = rest[count:]
    return bytes(whole)


def _fields(data):
    """Parts with their lengths before them."""
    fields = []
    while data:
        length = int.from_bytes(data[:4], "little")
        if len(data) < 4 + length:
            raise ValueError("it is cut off")
        fields.append(data[4 : 4 + length])
        data = data[4 + length :]
    return fields


def _ends(process, seconds):
    """Whether a child ends in time; it is not reaped."""
    descriptor = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(1000 * seconds))
    finally:
        os.close(descriptor)


def _hang_up(connection):
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def _identity(path):
    """What tells one file from another at the same path."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
