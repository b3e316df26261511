"""The results as documents: docs/benchmarks.md, and the table in README.md."""

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


def speed(results):
    head = ["peer", "round trip p50", "round trip p99", "many at once, tasks/s",
            "1 MiB there and back", f"20 × {results['sizes']['burn_seconds']:g} s", "first result"]  # fmt: skip
    return table(head, rows_of(results, "speed", len(head), speed_row))


def speed_row(good):
    return [
        figures.seconds(figures.column(good, "roundtrip_us", "p50"), "us"),
        figures.seconds(figures.column(good, "roundtrip_us", "p99"), "us"),
        figures.each_second(figures.column(good, "throughput_per_s")),
        figures.seconds(figures.column(good, "echo_ms", "p50"), "ms"),
        figures.seconds(figures.column(good, "twenty_s"), "s"),
        figures.seconds(figures.column(good, "first_result_ms"), "ms"),
    ]


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
        return "**runs on**"
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
    head = ["", "round trip", "many at once", "1 MiB", "a crash costs", "CPU free after a drop", "first result"]
    speeds = {title: good for title, good, _ in answers_of(results, "speed")}
    crashes = {title: good for title, good, _ in answers_of(results, "crash")}
    stops = {title: good for title, good, _ in answers_of(results, "stop")}
    rows = []
    for title, good in speeds.items():
        cells = [figures.middle(one) for one in speed_row(good)]
        drops = [answer["drop"] for answer in stops[title]]
        rows.append([
            title, cells[0], f"{cells[2]}/s", cells[3],
            figures.agreed([costs(answer) for answer in crashes[title]]),
            figures.middle(cpu_free(drops)) if drops else "–", cells[5],
        ])  # fmt: skip
    return f"{results['date']}, {parts(results)['machine']}; medians:\n\n{table(head, rows)}"


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
