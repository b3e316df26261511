# What a worker process does that is Python: read a task, call its function, write the result,
# one task at a time on this thread, or several in one call. The other side is `local/wire/python.rs`.
#
# It needs nothing but the standard library.

import atexit
import faulthandler
import fcntl
import importlib
import mmap
import os
import pickle
import select
import signal
import socket
import struct
import sys
import termios
import threading
import time
import types

# sys.argv: name, pipe of this source, socket, page, most bytes of a result, seconds of CPU
# time for a task, level of what is logged, the slot and 1 or 0, how many paths follow, paths,
# modules.
SOCKET, PAGE, LIMIT, CPU_LIMIT, LEVEL, place, PATHS = map(int, sys.argv[3:10])

# Words of the page that the server shares with each worker (`local/shm/page.rs`).
FIRST_TASK, TASKS, LISTENING, READ, BEFORE = (64, 128, 3, 9, 10)
STOPPING = 4

# Messages: see `local/wire/python.rs`.
CALL, TAKEN = struct.Struct("<IBBHIQII"), struct.Struct("<IBBHIQQ")
SAYS = struct.Struct("<IBBHIQQQ")
RUN, CREDIT = 1, 2
READY, DONE, RAISED, TOO_LARGE, ITEM, WAITS, SAID, PROGRESS, MISCOUNTED = range(2, 11)

# How many bytes of items may be out that nobody took, and what each counts beside its own
# (`value/channel.rs`).
WINDOW, ITEM_BYTES = 256 << 10, 24

# From so many bytes on, joining what is sent costs more than passing its parts, of which so many
# are passed at once.
JOINED, PARTS = 32 << 10, 64
# How much is asked of the socket at once for a batch.
PIECE = 256 << 10

# From so many bytes on, a result has a sealed file in memory, which the server maps.
IN_FILE = 4 << 20
SEALS = 0x0F

# From this run time on, CPU time is told. To look it up takes as long as a short task, so that
# is done once in so long.
MEASURED_NS, LOOKED_UP_NS = 1_000_000, 200_000

# Up to so many bytes, arguments are copied rather than viewed, and results sent in one piece.
SMALL = min(LIMIT, 4 << 10)
# What has no buffers beside its pickle.
PLAIN = frozenset((int, float, bool, str, bytes, type(None)))

# How long an idle worker may take to leave after its server has hung up, in seconds.
LINGER = 10

# What is shown of an exception, in characters and in lines.
TEXT, LINES = 32 << 10, 200

# What asks a process to end, or to read its settings anew: it comes to the whole group.
REQUESTS = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip

server = socket.socket(fileno=SOCKET)
words = memoryview(mmap.mmap(PAGE, 4096)).cast("Q")
functions = {}
loads, dumps = pickle.loads, pickle.dumps
ioctl, FIONREAD = fcntl.ioctl, termios.FIONREAD
clock_ns, cpu_clock_ns = time.perf_counter_ns, time.process_time_ns
# How much CPU time was used when that was looked up last, and when that was.
used_ns = looked_up_ns = 0
# How many bytes of stderr are in its pipe.
unread = bytearray(4)
unread_bytes = memoryview(unread).cast("I")
leader = os.getpid()
# The number of the task that runs, 0 between tasks; and of the last in the last batch.
running = last = 0
# Who writes for it beside this thread, which waits for that only if there is somebody.
writing = threading.RLock()
others_write = False
# This process was forked by a task.
is_fork = False


def main():
    os.set_inheritable(SOCKET, False)
    os.set_inheritable(PAGE, False)
    os.close(PAGE)
    faulthandler.enable(2, all_threads=False)
    for request in REQUESTS:
        signal.signal(request, on_request)
    os.register_at_fork(after_in_child=forked)
    sys.stdout.reconfigure(line_buffering=True)
    paths, modules = sys.argv[10 : 10 + PATHS], sys.argv[10 + PATHS :]
    # The working directory is no place of modules, unless it is said.
    sys.path[:] = [os.path.abspath(path) for path in paths] + [path for path in sys.path if path]
    sys.argv[:] = [""]
    sys.modules["outboard"] = for_tasks()
    if LEVEL:
        relay_logs()
    for module in modules:
        preload(module)
    threading.Thread(target=watch, name="outboard-watch", daemon=True).start()
    settle(clock_ns())
    say(READY, 0, 0, used_ns)
    serve()
    depart()


def preload(module):
    try:
        importlib.import_module(module)
    except BaseException as error:
        shown = error.__traceback__
        while shown and is_passed_by(shown.tb_frame.f_code):
            shown = shown.tb_next
        sys.excepthook(type(error), error.with_traceback(shown), shown)
        name, message, lines = told(error)
        at = lines.rsplit("\n", 1)[-1]
        where = f" ({at})" if at else ""
        give_up(f"`import {module}` failed: {name}: {message}{where}")


def give_up(why):
    """Says why in one line, which is the last, and ends this process."""
    flush()
    os.write(2, ("outboard: " + " ".join(why.split()) + "\n").encode(errors="replace"))
    os._exit(1)


def serve():
    """Serves tasks until the server hangs up."""
    global place
    buffer = bytearray(64 << 10)
    room = memoryview(buffer)
    receive, take_apart, size = server.recv_into, CALL.unpack_from, CALL.size
    # Python 3.11 optimizes a loop that is written like this, and none with a condition.
    while True:
        count = receive(buffer)
        # It sends one task, or all of one call, and waits for the answers.
        while count < size:
            more = receive(room[count:]) if count else 0
            if not more:
                return
            count += more
        length, kind, streams, name, number, task, rest, place = take_apart(buffer)
        if rest:
            tasks, function, args = gather(room[:count])
            ended_ns = execute(task, False, function, args, tasks)
            del args
            settle(ended_ns)
            continue
        end = length + 4
        frame = buffer
        if count != end or end == len(buffer):
            if end >= len(buffer):
                # With a byte more, for the end of the pickle.
                frame = bytearray(end + 1)
                frame[:count] = room[:count]
            while count < end:
                more = receive(memoryview(frame)[count:end], 0, socket.MSG_WAITALL)
                if not more:
                    return
                count += more
        if kind != RUN or count != end:
            give_up("the server violated the worker protocol")
        # What came is the opcodes of the arguments; this ends their pickle.
        frame[end] = 46
        end += 1
        name += size
        function = functions.get(number)
        if function is None:
            function = unknown(bytes(frame[size:name]), number)
        args = (frame if end <= SMALL else memoryview(frame))[name:end]
        ended_ns = execute(task, streams, function, args)
        del frame, args
        settle(ended_ns)


def settle(ended_ns):
    """What is left to do when all is answered, and nobody waits: the last task ended then."""
    global used_ns, looked_up_ns
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except Exception:
        flush()
    mark()
    if ended_ns - looked_up_ns >= LOOKED_UP_NS:
        used_ns, looked_up_ns = cpu_clock_ns(), ended_ns


def gather(data):
    """All tasks of a batch, whose first bytes have come: their numbers, function and arguments."""
    data, begin, tasks, args, rest = bytearray(data), 0, [], [], 1
    while rest:
        read_up_to(data, begin + CALL.size)
        length, kind, _, name, number, task, rest, _ = CALL.unpack_from(data, begin)
        end = begin + length + 4
        read_up_to(data, end)
        if kind != RUN or not rest and len(data) != end:
            give_up("the server violated the worker protocol")
        begin += CALL.size
        if not tasks:
            function = functions.get(number)
            if function is None:
                function = unknown(bytes(data[begin : begin + name]), number)
        tasks.append(task)
        args.append(data[begin + name : end] + b".")
        begin = end
    return tasks, function, args


def read_up_to(data, count):
    while len(data) < count:
        more = server.recv(PIECE)
        if not more:
            depart()
        data += more


def execute(task, streams, function, args, batch=()):
    """Executes a task, or those of a batch in one call, and answers; gives when it had ended."""
    global running, last
    if batch:
        last = batch[-1]
    running = task
    if CPU_LIMIT:
        limit_cpu(used_ns // 1_000_000_000 + 1 + CPU_LIMIT)
    start_ns = clock_ns()
    try:
        if batch:
            answers = call_together(function, args)
        else:
            output = function(*loads(args))
            if streams:
                output = send_items(task, output)
            kind, parts = DONE, (dumps(output, 5),) if type(output) in PLAIN else pickled(output)
            # What the task holds is let go before it has ended.
            del output
    except BaseException as error:
        kind, parts = RAISED, raised(error)
        answers = ((kind, parts),) * len(batch)
    if is_fork:
        # The socket is its parent's.
        os._exit(0 if (answers[0][0] if batch else kind) == DONE else 1)
    ended_ns = clock_ns()
    run_ns = ended_ns - start_ns
    cpu_ns = cpu_clock_ns() - used_ns if run_ns >= MEASURED_NS else 0
    if CPU_LIMIT:
        limit_cpu(None)
    # In this order: who has not seen that yet has said before that it writes.
    running = 0
    if others_write:
        with writing:
            pass
    if batch:
        answer(batch, answers, run_ns, cpu_ns)
    elif len(parts) > 1 or (size := len(parts[0])) > SMALL:
        answer((task,), ((kind, parts),), run_ns, cpu_ns)
    else:
        try:
            server.sendall(SAYS.pack(32 + size, kind, 0, 0, 0, task, run_ns, cpu_ns) + parts[0])
        except OSError:
            depart()
    return ended_ns


def call_together(function, args):
    """Calls a function with the items of several tasks, each a list of one; gives what each is
    answered with, which is such a list too."""
    items = [item for items in map(loads, args) for item in items[0]]
    count = len(items)
    outputs = function(items)
    if len(outputs) != count:
        return ((MISCOUNTED, (struct.pack("<Q", len(outputs)),)),) * count
    return [done(output) for output in outputs]


def done(output):
    """What one of several is answered with: that its output is no value is its own fault."""
    try:
        return DONE, pickled([output])
    except BaseException as error:
        return RAISED, raised(error)


def answer(tasks, answers, run_ns, cpu_ns):
    """Answers the tasks of one call, which took so long, in their order."""
    batch = len(tasks) if len(tasks) > 1 else 0
    # Small ones go together.
    small, count = [], 0
    for task, (kind, parts) in zip(tasks, answers):
        size, file = sum(map(len, parts)), None
        if kind == DONE and size > LIMIT:
            kind, parts, size = TOO_LARGE, (struct.pack("<QQ", LIMIT, size),), 16
        elif kind == DONE and size >= IN_FILE and (file := sealed(parts)) is not None:
            parts, size = (struct.pack("<Q", size),), 8
        head = SAYS.pack(32 + size, kind, file is not None, batch, 0, task, run_ns, cpu_ns)
        if file is None and count + size <= JOINED:
            small += (head, *parts)
            count += size
            continue
        if small:
            send(small, count)
        small, count = [], 0
        send((head, *parts), size, file)
    if small:
        send(small, count)


def unknown(name, number):
    """What finds a function, calls it, and has it known from then on."""
    return lambda *args: find(name, number)(*args)


def find(name, number):
    """The function of that name, `module:function`, which is kept by its number."""
    module, _, path = name.decode().partition(":")
    function = importlib.import_module(module)
    for part in path.split("."):
        function = getattr(function, part)
    functions[number] = function
    return function


def pickled(value):
    """The pickle of a value, with the buffers beside it: `task/python.rs` takes it apart."""
    buffers = []
    data = dumps(value, 5, buffer_callback=buffers.append)
    if not buffers:
        return (data,)
    parts = [data, *(buffer.raw() for buffer in buffers)]
    head = struct.pack(f"<BI{len(parts)}Q", 0, len(buffers), *map(len, parts))
    return [head, *parts]


def sealed(parts):
    """A file of these bytes that nobody can change, as `local/shm/sealed.rs` wants it, where the
    system has such files."""
    try:
        file = os.memfd_create("outboard-result", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except (AttributeError, OSError):
        return None
    try:
        for part in parts:
            rest = memoryview(part)
            while len(rest):
                rest = rest[os.write(file, rest) :]
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, SEALS)
    except (AttributeError, OSError):
        os.close(file)
        return None
    return file


def send_items(task, iterable):
    """Sends what a function gives while it runs; gives what it returns in the end."""
    iterator = iter(iterable)
    sent = taken = 0
    while True:
        try:
            item = next(iterator)
        except StopIteration as stop:
            return stop.value
        if is_fork:
            os._exit(0)
        parts = pickled(item)
        size = sum(map(len, parts))
        if size > LIMIT:
            limit = f"the limit is {LIMIT}: send less, or raise `max_payload`"
            raise ValueError(f"item is {size} bytes; {limit}")
        del item
        while sent > taken and sent - taken + ITEM_BYTES + size > WINDOW:
            say(WAITS, task, taken)
            taken = credit(task)
        sent += ITEM_BYTES + size
        with writing:
            send((SAYS.pack(32 + size, ITEM, 0, 0, 0, task, 0, 0), *parts), size)


def credit(task):
    """Waits until the reader of the stream has taken more."""
    frame = bytearray(TAKEN.size)
    room, count = memoryview(frame), 0
    while count < TAKEN.size:
        more = server.recv_into(room[count:])
        if not more:
            depart()
        count += more
    _, kind, _, _, _, of_task, taken = TAKEN.unpack(frame)
    if kind != CREDIT or of_task != task:
        give_up("the server violated the worker protocol")
    return taken


def raised(error):
    """An exception, as it is answered with."""
    name, message, lines = (text.encode(errors="backslashreplace") for text in told(error))
    return (struct.pack("<I", len(name)), name, struct.pack("<I", len(message)), message, lines)


def told(error):
    """An exception's class, what it says, and where it was raised, outermost first."""
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    try:
        message = str(error)
    except BaseException as other:
        message = f"its text could not be had: {type(other).__qualname__}"
    lines, frame = [], error.__traceback__
    while frame and len(lines) < LINES:
        code = frame.tb_frame.f_code
        if not is_passed_by(code):
            lines.append(f"{code.co_filename}:{frame.tb_lineno}: {code.co_name}")
        frame = frame.tb_next
    return name, message[:TEXT], "\n".join(lines)


def is_passed_by(code):
    """Whether it is ours, or imports what is the user's."""
    file = code.co_filename
    return file in ("<outboard>", importlib.__file__) or file.startswith("<frozen importlib.")


def say(kind, task, first=0, second=0, level=0, parts=()):
    """Says something of the task that runs, unless it has ended meanwhile."""
    global others_write
    # What is destroyed while this thread writes may have something to say, in between. A
    # process that the task has forked has no say: the socket is its parent's.
    if is_fork or writing._is_owned():
        return
    with writing:
        others_write = True
        if task != running:
            return
        size = sum(map(len, parts))
        send((SAYS.pack(32 + size, kind, level, 0, 0, task, first, second), *parts), size)


def send(parts, size, file=None):
    """Sends bytes of about that size, with a file beside them."""
    try:
        if file is not None:
            socket.send_fds(server, parts, [file])
            os.close(file)
        elif size <= JOINED:
            server.sendall(b"".join(parts))
        else:
            sent = server.sendmsg(parts[:PARTS])
            for part in parts:
                if sent < len(part):
                    server.sendall(memoryview(part)[sent:])
                sent = max(0, sent - len(part))
    except OSError:
        # The server is gone, or has hung up.
        depart()


def is_unwanted(task):
    return words[FIRST_TASK + task % TASKS] >= task << 3 | STOPPING


def for_tasks():
    """The module `outboard`, for what runs in a worker."""
    module = types.ModuleType("outboard", "What a task can say and ask in a worker of Outboard.")

    def progress(done, total=0, text=""):
        """Says how far the running task has come: `done` of `total`, and what it does now."""
        if task := running:
            # Far more than is kept.
            text = text[:120].encode(errors="replace")
            say(PROGRESS, task, max(done, 0), max(total, 0), parts=(text,))

    def cancelled():
        """Says whether nobody waits for the running task any more."""
        task = running
        if task and words[LISTENING] != task:
            words[LISTENING] = task
        return task > 0 and all(map(is_unwanted, range(task, max(task, last) + 1)))

    def slot():
        """The number of this worker's slot in its pool, where it has one already."""
        return place - 1 if place else None

    for function in (progress, cancelled, slot):
        setattr(module, function.__name__, function)
    return module


def relay_logs():
    """Has what tasks log shown by the server, as events."""
    import logging

    level = (0, 40, 30, 20, 10, 1)[LEVEL]

    class Relay(logging.Handler):
        def emit(self, record):
            if not (task := running):
                return
            try:
                texts = [text.encode(errors="replace") for text in (record.name, record.pathname)]
                message = self.format(record)[:TEXT].encode(errors="replace")
            except Exception:
                return self.handleError(record)
            parts = [part for text in texts for part in (struct.pack("<I", len(text)), text)]
            level = 1 + sum(record.levelno < least for least in (40, 30, 20, 10))
            say(SAID, task, record.lineno, level=level, parts=(*parts, message))

    root = logging.getLogger()
    root.addHandler(Relay(level))
    root.setLevel(level)


def limit_cpu(seconds):
    import resource

    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if seconds is None or hard != resource.RLIM_INFINITY and seconds > hard:
        seconds = hard
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, hard))


def mark():
    """Says where in stderr the next task begins: behind what was read and what is unread."""
    turn = 0
    while turn < 600:
        read = words[READ]
        try:
            ioctl(2, FIONREAD, unread)
        except OSError:
            return
        if not read & 1 and words[READ] == read:
            words[BEFORE] = (read >> 1) + unread_bytes[0]
            return
        turn += 1
        if turn > 100:
            time.sleep(20e-6)
    words[BEFORE] = (1 << 64) - 1


def flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass


def on_request(*_):
    """Whoever asks the whole group has asked the server, which ends its workers."""


def forked():
    """A process that a task has forked answers nothing, and ends as any other does."""
    global is_fork
    is_fork = True
    for request in REQUESTS:
        if signal.getsignal(request) is on_request:
            usual = signal.default_int_handler if request == signal.SIGINT else signal.SIG_DFL
            signal.signal(request, usual)


def watch():
    """Ends this process when the server has hung up or is gone, if it does not end by itself."""
    poll = select.poll()
    poll.register(SOCKET, getattr(select, "POLLRDHUP", 0) | select.POLLHUP)
    poll.poll()
    left = LINGER
    while left > 0 and not running:
        time.sleep(0.02)
        left -= 0.02
    os.killpg(leader, signal.SIGKILL)


def depart():
    """Ends this process, and what tasks have left in its group."""
    try:
        os.setpgid(0, os.getpgid(os.getppid()))
        os.killpg(leader, signal.SIGKILL)
    except OSError:
        pass
    # Without waiting for threads that tasks have left.
    atexit._run_exitfuncs()
    flush()
    os._exit(0)


main()
