// One small picture of how many durations were how long, or batches how large: a bar
// for each power of two, of microseconds or of tasks.

import { count, duration, el, setText, svg } from "./dom.js";

const HEIGHT = 34;
const WIDTH = 8;
const LEAST = 12;

// The bounds of buckets that have a name: so many powers of two of microseconds.
const NAMED = { 0: "1 µs", 5: "32 µs", 10: "1 ms", 15: "33 ms", 20: "1 s", 25: "34 s", 30: "18 min" };

// The bounds of the sizes of batches.
const SIZES = ["1", "2", "4", "8", "16", "32", "64"];

// More buckets than these have every other name.
const CROWDED = 20;

export function makeHistogram(what) {
  const picture = svg("svg", { class: "histogram", role: "img", preserveAspectRatio: "none" });
  const axis = el("div", { class: "axis", "aria-hidden": "true" });
  const most = el("span", { class: "most", "aria-hidden": "true" });
  const cell = el("div", { class: "chart" }, picture, el("small"), axis, most);
  cell.dataset.what = what;
  return cell;
}

// The buckets `[from, to]` that hold all of these: the same for all pictures, so that
// one can be held against another.
export function range(all) {
  let from = Infinity;
  let to = 0;
  for (const { counts } of all) {
    const first = counts.findIndex((number) => number > 0);
    if (first >= 0) from = Math.min(from, first);
    to = Math.max(to, counts.length);
  }
  from = from === Infinity ? 0 : Math.max(0, from - 1);
  return [from, Math.max(to + 1, from + LEAST)];
}

export function updateHistogram(cell, times, [from, to]) {
  const [picture, words, axis, highest] = cell.children;
  name(axis, from, to);
  cell.classList.toggle("none", times.p50_ms === null);
  const most = bars(picture, times.counts, [from, to]);
  const text = times.p50_ms === null
    ? "none yet"
    : `p50 ≤ ${duration(times.p50_ms)}, p99 ≤ ${duration(times.p99_ms)}, max ${duration(times.max_ms)}`;
  setText(words, text);
  setText(highest, times.p50_ms === null ? "" : count(most));
  const all = times.counts.reduce((sum, number) => sum + number, 0);
  picture.setAttribute("aria-label", `${cell.dataset.what} of ${count(all)}: ${text}`);
}

// The same of the sizes of batches.
export function updateSizes(cell, { calls, tasks, sizes }) {
  const [picture, words, axis, highest] = cell.children;
  const most = bars(picture, sizes, [0, SIZES.length]);
  const text = calls === 0 ? "none yet" : `mean ${(tasks / calls).toFixed(1)}`;
  cell.classList.toggle("none", calls === 0);
  setText(words, text);
  setText(highest, calls === 0 ? "" : count(most));
  picture.setAttribute("aria-label", `${cell.dataset.what} of ${count(calls)}: ${text}`);
  if (axis.children.length === 0) {
    axis.append(...SIZES.map((size, index) => tick(size, (index + 1) / SIZES.length)));
  }
}

// Draws a bar for each bucket; gives the count of the highest.
function bars(picture, counts, [from, to]) {
  const wanted = to - from;
  const most = Math.max(1, ...counts);
  picture.setAttribute("viewBox", `0 0 ${wanted * WIDTH} ${HEIGHT}`);
  while (picture.children.length > wanted) picture.lastChild.remove();
  while (picture.children.length < wanted) picture.append(svg("rect"));
  [...picture.children].forEach((bar, index) => {
    const number = counts[from + index] ?? 0;
    const height = number === 0 ? 1 : Math.max(2, (number / most) * HEIGHT);
    bar.setAttribute("class", number === 0 ? "ground" : "");
    bar.setAttribute("x", index * WIDTH);
    bar.setAttribute("y", HEIGHT - height);
    bar.setAttribute("width", WIDTH - 1);
    bar.setAttribute("height", height);
  });
  return most;
}

function tick(text, part) {
  const node = el("span", {}, text);
  node.style.left = `${100 * part}%`;
  return node;
}

// Writes the bounds below the bars that they end.
function name(axis, from, to) {
  if (axis.dataset.range === `${from} ${to}`) return;
  axis.dataset.range = `${from} ${to}`;
  const every = to - from > CROWDED ? 10 : 5;
  const named = Object.keys(NAMED).map(Number);
  const shown = named.filter((bucket) => bucket >= from && bucket < to && bucket % every === 0);
  axis.replaceChildren(...shown.map((bucket) => tick(NAMED[bucket], (bucket - from + 1) / (to - from))));
}
