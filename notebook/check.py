"""Runs the notebooks from the first cell to the last, and checks what has to hold.

    check.py             runs copies, on ports that are free
    check.py --save      runs them as they are, and keeps outputs and plots
    check.py --install   builds what their cells need, and checks nothing

Times are compared within one run only. A cell is found by its id.
"""

import argparse
import os
import re
import shutil
import socket
import sys
import time
import xml.etree.ElementTree as xml
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
# Where evcxr compiles cells: kept, so that a second run finds what the first one compiled.
CELLS = ROOT / "target/notebook/cells"
# What these print says how the compiler went, and where.
OF_COMPILER = ("program", "dependencies")
PORT = re.compile(r"\b(8000|8500|9000|9500)\b")
TIME = re.compile(r"([\d.]+) (µs|ms|s) +(\d+) × http://127\.0\.0\.1:(\d+)(/\S+)")
LINK = re.compile(r"\]\(([^)#]+)")
UNITS = {"µs": 1e-6, "ms": 1e-3, "s": 1.0}
CORES = len(os.sched_getaffinity(0))


class Runner(NotebookClient):
    """Says how long each cell took; has evcxr use the versions that are locked."""

    busy = False

    async def async_execute_cell(self, cell, *args, **kwargs):
        self.look_around(cell)
        if cell["id"] == "dependencies":
            # At its start evcxr forgets the versions of what it does not need yet.
            shutil.copyfile(HERE / "Cargo.lock", CELLS / "Cargo.lock")
        begin = time.monotonic()
        try:
            return await super().async_execute_cell(cell, *args, **kwargs)
        finally:
            if cell.cell_type == "code":
                print(f"{time.monotonic() - begin:7.1f} s  {cell['id']}", flush=True)
            self.look_around(cell)

    def look_around(self, cell):
        """Where other programs have the cores, two workers take as long as one."""
        if cell["id"] == "parallel-equal" and cores_in_use() > 0.4:
            self.busy = True
            print("           the machine is busy: what parallel computations save is not compared")


def cores_in_use():
    """How many cores other programs use, for a moment in which no cell computes."""

    def idle():
        cpu = Path("/proc/stat").read_text().split("\n")[0].split()
        return (int(cpu[4]) + int(cpu[5])) / os.sysconf("SC_CLK_TCK")

    before, begin = idle(), time.monotonic()
    time.sleep(0.5)
    return os.cpu_count() - (idle() - before) / (time.monotonic() - begin)


class Ran:
    """A notebook that has run: what its cells printed and showed."""

    def __init__(self, book):
        self.cells = {cell["id"]: cell for cell in book.cells}

    def text(self, cell):
        outputs = self.cells[cell].outputs
        return "".join(output.text for output in outputs if output.get("name") == "stdout")

    def times(self, cell):
        """Seconds by port and page."""
        lines = TIME.findall(self.text(cell))
        return {(int(port), page): float(n) * UNITS[unit] for n, unit, _, port, page in lines}

    def plot(self, cell):
        """The texts of a plot."""
        data = [output.data for output in self.cells[cell].outputs if "data" in output]
        (svg,) = (one["image/svg+xml"] for one in data if "image/svg+xml" in one)
        return [(text.text or "").strip() for text in xml.fromstring(svg).iter() if text.tag.endswith("}text")]


def says(condition, what):
    if not condition:
        raise AssertionError(what)


def slow_and_fast(times, port):
    """Of the longest computation there, and of the quick page that was asked for just after."""
    slow = max(took for (at, page), took in times.items() if at == port and "/fib/" in page)
    fast = min(took for (at, page), took in times.items() if at == port and page == "/fast")
    return slow, fast


def waited(ran, cell, port):
    # The longest of each: a cell may ask for a short computation first.
    times = ran.times(cell)
    slow, fast = slow_and_fast(times, port)
    fast = max(fast, times[port, "/fast"])
    says(fast > slow / 2, f"{cell}: /fast took {fast} s beside {slow} s, and did not wait on {port}")


def did_not_wait(ran, cell, port):
    slow, fast = slow_and_fast(ran.times(cell), port)
    says(fast < slow / 10, f"{cell}: /fast took {fast} s beside {slow} s, and waited on {port}")


def fib(n):
    this, after = 0, 1
    for _ in range(n):
        this, after = after, this + after
    return this


def check_servers(ran, busy):
    n, _ = (int(n) for n in re.findall(r"fib\((\d+)\)", ran.text("equal")))
    one, twenty = (float(it[0]) * UNITS[it[1]] for it in TIME.findall(ran.text("fib-equal")))
    says(twenty > 5 * one, f"twenty took {twenty} s, and one {one} s: they were not one by one")
    waited(ran, "blocking", 8000)
    says(re.search(r"Workers: [1-9]", ran.text("client")), "the client shows no workers")
    parallel = ran.times("parallel-equal")
    before, after = parallel[8000, f"/fib/{n}"], parallel[9000, f"/fib/{n}"]
    coalesced = parallel[9000, f"/coalesced/fib/{n}"]
    shares = [int(done) for done in re.findall(r"has computed (\d+) tasks", ran.text("shares"))]
    took_part = len(shares) >= min(CORES, 2) and min(shares, default=0) * len(shares) >= 10
    says(took_part and sum(shares) >= 41, f"workers computed {shares} tasks")
    if CORES > 1 and not busy:
        says(after < 0.9 * before, f"after took {after} s, before {before} s: nothing was parallel")
    says(coalesced < after / 2, f"coalesced took {coalesced} s, twenty computations {after} s")
    did_not_wait(ran, "async-equal", 9000)
    did_not_wait(ran, "threads-equal", 8500)
    for cell in ("parallel-plot", "async-plot", "threads-plot"):
        texts = ran.plot(cell)
        says({"before", "after", "shorter is better"} <= set(texts), f"{cell} shows {texts}")
    says(ran.text("stops").count("timed out") >= 1, ran.text("stops"))
    says(f"then fib(28) = {fib(28)}" in ran.text("stops"), ran.text("stops"))
    says("SIGABRT" in ran.text("crash"), ran.text("crash"))
    says(f"meanwhile fib({n}) = {fib(n)}" in ran.text("crash"), ran.text("crash"))
    says("round trip: " in ran.text("roundtrip"), ran.text("roundtrip"))
    says("mark it with #[task]" in ran.text("closure"), ran.text("closure"))


def check_dask(ran, busy):
    waited(ran, "blocking", 8000)
    says(ran.text("values").split() == [str(fib(25))] * 2, ran.text("values"))
    parallel = ran.times("parallel")
    before, rust = parallel[8000, "/fib/28"], parallel[9500, "/fib/28"]
    says(rust < before / 2, f"Rust took {rust} s, Python {before} s")
    waited(ran, "async", 8000)
    did_not_wait(ran, "async", 9000)
    did_not_wait(ran, "async", 9500)
    says("SIGABRT" in ran.text("crash"), ran.text("crash"))
    says(f"meanwhile fib(36) = {fib(36)}" in ran.text("crash"), ran.text("crash"))
    says(f"after it: fib(28) = {fib(28)}" in ran.text("stop"), ran.text("stop"))
    says("the worker ended with 0" in ran.text("end"), ran.text("end"))


BOOKS = {"servers.ipynb": check_servers, "dask.ipynb": check_dask}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def run(name, save):
    print(f"{name}:", flush=True)
    book = nbformat.read(HERE / name, as_version=4)
    ports = {}
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        if not save and cell.cell_type == "code":
            cell.source = PORT.sub(lambda it: ports.setdefault(it[0], free_port()), cell.source)
    where = {"metadata": {"path": str(HERE)}}
    kernel = book.metadata.kernelspec.name
    runner = Runner(
        book, timeout=3600, kernel_name=kernel, resources=where, record_timing=False, coalesce_streams=True
    )
    runner.execute()
    back = {new: old for old, new in ports.items()}
    for output in (it for cell in book.cells for it in cell.get("outputs", [])):
        if output.output_type == "stream":
            output.text = re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda it: back.get(it[0], it[0]), output.text)
    BOOKS[name](Ran(book), runner.busy)
    return book


def install():
    """Runs the cells that build: what they built is still there when a reader runs them."""
    book = nbformat.read(HERE / "servers.ipynb", as_version=4)
    book.cells = [cell for cell in book.cells if cell["id"] in OF_COMPILER]
    where = {"metadata": {"path": str(HERE)}}
    Runner(book, timeout=3600, kernel_name=book.metadata.kernelspec.name, resources=where).execute()


def clean(book):
    """Without what a reader learns nothing from: what the compiler said, and the machine's places."""
    for cell in book.cells:
        if cell["id"] in OF_COMPILER:
            cell.outputs = []
    book.metadata.get("language_info", {}).pop("version", None)
    return book


def check_stored(name):
    """A notebook as it is stored has run from the first cell to the last, and does not say where."""
    text = (HERE / name).read_text()
    for place in (ROOT, Path.home()):
        # A home of / or so is part of everything.
        if len(place.parts) > 1:
            says(f"{place}/" not in text, f"{name} says where it was written: {place}")
    says("/tmp/" not in text, f"{name} says where it was written")
    book = nbformat.reads(text, as_version=4)
    nbformat.validate(book)
    for cell in book.cells:
        for link in LINK.findall(cell.source if cell.cell_type == "markdown" else ""):
            says("://" in link or (HERE / link).exists(), f"{name}: {link} does not exist")
    counts = [cell.execution_count for cell in book.cells if cell.cell_type == "code"]
    says(counts == list(range(1, len(counts) + 1)), f"{name} was not saved by --save: {counts}")
    BOOKS[name](Ran(book), busy=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--save", action="store_true", help="keep outputs and plots")
    parser.add_argument("--install", action="store_true", help="build only")
    parser.add_argument("books", nargs="*", help=f"by default {', '.join(BOOKS)}")
    arguments = parser.parse_args()
    CELLS.mkdir(parents=True, exist_ok=True)
    os.environ["EVCXR_TMPDIR"] = str(CELLS)
    if arguments.install:
        return install()
    failed = 0
    for name in arguments.books or BOOKS:
        try:
            book = run(name, arguments.save)
            if arguments.save:
                nbformat.write(clean(book), HERE / name)
            check_stored(name)
        except (AssertionError, CellExecutionError) as error:
            failed += 1
            print(f"notebook: {name}: {error}", file=sys.stderr)
    passed = len(arguments.books or BOOKS) - failed
    print(f"\n{passed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
