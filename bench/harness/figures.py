"""Several runs as one figure: the median and the spread, in units that people read."""

import re
from statistics import median

#: From seconds: the smallest unit in which a time is at least one.
UNITS = ((1, "s"), (1e-3, "ms"), (0, "µs"))

#: Identities of tasks, and numbers: of processes, of workers, of bytes.
NUMBERS = re.compile(r"[0-9a-f-]{16,}|[0-9][0-9.]*")


def column(answers, *path):
    """The values at one place of all answers that have it."""
    found = []
    for answer in answers:
        for key in path:
            answer = answer.get(key) if isinstance(answer, dict) else None
        if answer is not None:
            found.append(answer)
    return found


def seconds(values, unit):
    """Times as text, with the lowest and the highest: `14.2 µs (13.9–15.0)`."""
    if not values:
        return "–"
    values = [value * {"s": 1, "ms": 1e-3, "us": 1e-6}[unit] for value in values]
    middle = median(values)
    limit, name = next(pair for pair in UNITS if middle >= pair[0])
    scale = limit or 1e-6
    shown = [three(value / scale) for value in (middle, min(values), max(values))]
    return spread(f"{shown[0]} {name}", *shown)


def each_second(values):
    """Rates as text, with the lowest and the highest."""
    if not values:
        return "–"
    shown = [f"{float(f'{value:.3g}'):,.0f}" for value in (median(values), min(values), max(values))]
    return spread(shown[0], *shown)


def spread(text, middle, low, high):
    return text if low == high == middle else f"{text} ({low}–{high})"


def three(value):
    """Three digits, and no more zeros than that takes."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def middle(values):
    """The median with its unit alone, for short tables."""
    return values.split(" (")[0]


def agreed(values):
    """What all answers say; or how often each was seen, where they differ by more than numbers."""
    shapes = [NUMBERS.sub("#", str(value)) for value in values]
    distinct = {}
    for shape, value in zip(shapes, values):
        distinct.setdefault(shape, value)
    if len(distinct) <= 1:
        return next(iter(distinct.values()), "–")
    seen = [f"{value} ({shapes.count(shape)} of {len(values)})" for shape, value in distinct.items()]
    return "; ".join(seen)
