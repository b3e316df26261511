"""The results as documents: docs/benchmarks.md, and the table in README.md."""

from math import inf
from statistics import median

from . import figures, plan
from .paths import BENCH, DOCUMENTS, README

BEGIN = "<!-- written by script/bench -->"
END = "<!-- until here -->"


def documents(results):
    text = (BENCH / "report.md").read_text()
    for name, part in parts(results).items():
        text = text.replace("{" + name + "}", part)
    DOCUMENTS.write_text(text)
    before, rest = README.read_text().split(BEGIN)
    after = rest.split(END)[1]
    README.write_text(f"{before}{BEGIN}\n{essence(results)}\n{END}{after}")


def as_text(results):
    """For the terminal."""
    return "\n\n".join((speed(results), crash(results), stop(results), missing(results)))


def parts(results):
    machine = results["machine"]
    sizes = results["sizes"]
    rounds = sizes["rounds"]
    return {
        "date": results["date"],
        "machine": (
            f"{machine['cores']} {'virtual ' if machine['virtual'] else ''}cores of {machine['cpu']}, "
            f"{machine['memory_gib']} GiB of memory, Linux {machine['kernel']}, {machine['system']}"
        ),
        "versions": "\n".join(f"| {name} | {version} |" for name, version in results["versions"].items()),
        "load": noise(results["load"]),
        "minutes": f"{results['duration_s'] / 60:.0f}",
        "speed_rounds": str(sum("speed" in parts for parts in rounds)),
        "other_rounds": str(sum("crash" in parts for parts in rounds)),
        "workers": str(sizes["workers"]),
        "seconds": f"{sizes['seconds']:g}",
        "batch": f"{sizes['batch']:,}",
        "burn": f"{sizes['burn_seconds']:g}",
        "ideal": f"{20 * sizes['burn_seconds'] / sizes['workers']:g}",
        "task": f"{sizes['task_seconds']:g}",
        "timeout": f"{sizes['task_seconds'] / 6:g}",
        "window": f"{sizes['task_seconds'] / 2:g}",
        "speed": speed(results),
        "samples": samples(results),
        "crash": crash(results),
        "stop": stop(results),
        "missing": missing(results),
    }


def noise(load):
    """How busy the machine was with other things."""
    shares = [f"{100 * share:.0f} %" for share in load]
    return ", ".join(shares)


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def answers_of(results, part):
    """The peers that were asked, their answers to a part, and why some gave none."""
    for name, parts in results["peers"].items():
        answers = parts.get(part, [])
        good = [answer for answer in answers if "failed" not in answer]
        bad = [answer["failed"] for answer in answers if "failed" in answer]
        yield plan.PEERS[name].title, good, bad


def rows_of(results, part, width, row):
    """A row for each peer; one that never answered has its reason instead."""
    rows = []
    for title, good, bad in answers_of(results, part):
        cells = row(good) if good else [f"failed: {cell(bad[0])}"] + [""] * (width - 2)
        if good and bad:
            cells[-1] += f"; failed {len(bad)} of {len(good) + len(bad)} times: {cell(bad[0])}"
        rows.append([title, *cells])
    return rows


#: What is measured, in the order of the columns: where it stands, its unit, and what is best.
SPEED = {
    "round trip p50": (("roundtrip_us", "p50"), "us", min),
    "round trip p99": (("roundtrip_us", "p99"), "us", min),
    "after 1 ms p50": (("paced_us", "p50"), "us", min),
    "after 1 ms p99": (("paced_us", "p99"), "us", min),
    "CPU per task": (("cpu_us",), "us", min),
    "many at once, tasks/s": (("throughput_per_s",), "per_s", max),
    "1 MiB there and back": (("echo_ms", "p50"), "ms", min),
    "20 × {burn} s": (("twenty_s",), "s", min),
    "first result": (("first_result_ms",), "ms", min),
}


def speed(results):
    burn = f"{results['sizes']['burn_seconds']:g}"
    head = ["peer", *(title.replace("{burn}", burn) for title in SPEED)]
    best = bests(results)
    row = lambda good: list(speed_cells(good, best).values())
    return table(head, rows_of(results, "speed", len(head), row))


def speed_cells(good, best):
    """What a peer's cells have, by the column; the best of all peers is bold."""
    cells = {}
    for title, (path, unit, _) in SPEED.items():
        values = figures.column(good, *path)
        text = figures.each_second(values) if unit == "per_s" else figures.seconds(values, unit)
        cells[title] = bold(text) if values and median(values) == best[title] else text
    return cells


def bests(results):
    """The best median of each column, if there is any."""
    found = {}
    for title, (path, _, best) in SPEED.items():
        columns = [figures.column(good, *path) for _, good, _ in answers_of(results, "speed")]
        found[title] = best((median(values) for values in columns if values), default=None)
    return found


def bold(text):
    """With the median bold, and not the spread."""
    middle, space, spread = text.partition(" (")
    return f"**{middle}**{space}{spread}"


def samples(results):
    """How many round trips stand behind each p99."""
    counts = []
    for title, good, _ in answers_of(results, "speed"):
        trips = figures.column(good, "roundtrip_us", "n")
        counts += [f"{title} {min(trips):,}"] if trips else []
    return ", ".join(counts)


def crash(results):
    head = ["peer", "the caller is told", "after", "the task ran", "the task beside it",
            "4 that waited", "next result"]  # fmt: skip
    return table(head, rows_of(results, "crash", len(head), crash_row))


def crash_row(good):
    return [
        figures.agreed([told(answer) for answer in good]),
        figures.seconds(figures.column(good, "error_ms"), "ms"),
        times(*figures.column(good, "crash_starts")),
        figures.agreed([beside(answer) for answer in good]),
        figures.agreed([waited(answer) for answer in good]),
        next_result(good),
    ]


def told(answer):
    if answer["server"] != "alive":
        return f"nothing: the server was {answer['server']}"
    return code(answer["error"])


def beside(answer):
    if answer["server"] != "alive":
        return "lost"
    ended = "finished" if answer["sibling"] == "finished" else f"lost: {kind(answer['sibling'])}"
    ran_again = answer["sibling_starts"] > 1
    return f"{ended}, run {times(answer['sibling_starts'])}" if ran_again else ended


def waited(answer):
    if answer["server"] != "alive":
        return "lost"
    if answer["waiting_finished"] == answer["waiting"]:
        return "finished"
    return f"{answer['waiting'] - answer['waiting_finished']} lost"


def next_result(answers):
    """When the pool gave a result again, or that it did not."""
    works = figures.column(answers, "works_after")
    if not any(works):
        return "never"
    text = figures.seconds(figures.column(answers, "next_result_ms"), "ms")
    return text if all(works) else f"{text}; never in {works.count(False)} of {len(works)}"


def stop(results):
    head = ["peer", "case", "by", "the caller is told", "after", "CPU free after", "next result after"]
    rows = []
    for case, title in (("timeout", "timeout"), ("drop", "drop"), ("cancel", "cancel")):
        picked = {"peers": {name: {"stop": [only(answer, case) for answer in parts.get("stop", [])]}
                            for name, parts in results["peers"].items()}}  # fmt: skip
        for row in rows_of(picked, "stop", len(head) - 1, stop_row):
            rows.append([row[0], title, *row[1:]])
    return table(head, rows)


def only(answer, case):
    return answer if "failed" in answer else answer[case]


def stop_row(good):
    means = good[0]
    return [
        means["how"] if "the awaiting" in means["how"] else f"`{means['how']}`",
        figures.agreed([code(answer["error"]) if answer["error"] else "–" for answer in good]),
        figures.seconds([answer["error_ms"] for answer in good if answer["error"]], "ms"),
        cpu_free(good),
        next_result(good),
    ]


def cpu_free(answers):
    """When the CPU was free, or that the task went on."""
    stopped = figures.column(answers, "stopped")
    if not any(stopped):
        return "runs on"
    text = milliseconds(figures.column(answers, "cpu_free_ms"))
    return text if all(stopped) else f"{text}; runs on in {stopped.count(False)} of {len(stopped)}"


def milliseconds(values):
    """A beat comes each millisecond, so less than that cannot be told."""
    return "1 ms or less" if max(values) <= 1 else figures.seconds([max(1, one) for one in values], "ms")


def missing(results):
    if not results["missing"]:
        return "None: all peers were installed and asked."
    return "\n".join(f"- **{plan.PEERS[name].title}**: {why}" for name, why in results["missing"].items())


def essence(results):
    """The short table of README.md."""
    head = ["", "round trip", "after 1 ms", "CPU per task", "many at once", "1 MiB", "a crash costs",
            "CPU free after a drop", "first result"]  # fmt: skip
    speeds = {title: good for title, good, _ in answers_of(results, "speed")}
    best = bests(results)
    crashes = {title: good for title, good, _ in answers_of(results, "crash")}
    stops = {title: good for title, good, _ in answers_of(results, "stop")}
    drops = {title: [answer["drop"] for answer in good] for title, good in stops.items()}
    soonest = min((free_ms(good) for good in drops.values()), default=inf)
    rows = []
    for title, good in speeds.items():
        cells = {name: figures.middle(cell) for name, cell in speed_cells(good, best).items()}
        free = figures.middle(cpu_free(drops[title])) if drops[title] else "–"
        rows.append([
            title, cells["round trip p50"], cells["after 1 ms p50"], cells["CPU per task"],
            a_second(cells["many at once, tasks/s"]), cells["1 MiB there and back"],
            figures.agreed([costs(answer) for answer in crashes[title]]),
            bold(free) if free_ms(drops[title]) == soonest < inf else free, cells["first result"],
        ])  # fmt: skip
    of_what = f"{results['date']}, {parts(results)['machine']}"
    return f"{of_what}; medians, the best in each column bold:\n\n{table(head, rows)}"


def free_ms(drops):
    """When the CPU was free after a drop, as it is shown; never, if a task went on."""
    if not drops or not all(figures.column(drops, "stopped")):
        return inf
    return max(1, median(figures.column(drops, "cpu_free_ms")))


def a_second(rate):
    """`193,000/s`, bold as the rate is."""
    return f"{rate[:-2]}/s**" if rate.endswith("**") else f"{rate}/s"


def costs(answer):
    """What one crash cost, in few words."""
    if answer["server"] != "alive":
        return "the server"
    lost = answer["waiting"] - answer["waiting_finished"] + (answer["sibling"] != "finished")
    if not answer["works_after"]:
        return "the pool"
    if lost:
        return f"the {lost + 1} tasks about"
    starts = answer["crash_starts"]
    return "one task" if starts == 1 else f"one task, run {times(starts)}"


def times(*counts):
    """How often something was started; all that was seen, if it was not always the same."""
    low, high = min(counts), max(counts)
    if low != high:
        return f"{low} to {high} times"
    return {1: "once", 2: "twice"}.get(low, f"{low} times")


def kind(error):
    return code(error.split(":")[0])


def code(text):
    return f"`{cell(text)}`"


def cell(text):
    """Text that a cell of a table can hold."""
    text = str(text).replace("|", "/").replace("`", "'")
    return text if len(text) <= 110 else text[:109] + "…"
