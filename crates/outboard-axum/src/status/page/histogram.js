// One small picture of how many durations were how long: a bar for each power of
// two of microseconds.

import { count, duration, el, setText, svg } from "./dom.js";

const HEIGHT = 34;
const WIDTH = 8;
const LEAST = 12;

export function makeHistogram(what) {
  const picture = svg("svg", { class: "histogram", role: "img", preserveAspectRatio: "none" });
  const cell = el("div", {}, picture, el("small"));
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
  const [picture, words] = cell.children;
  const wanted = to - from;
  const most = Math.max(1, ...times.counts);
  picture.setAttribute("viewBox", `0 0 ${wanted * WIDTH} ${HEIGHT}`);
  while (picture.children.length > wanted) picture.lastChild.remove();
  while (picture.children.length < wanted) picture.append(svg("rect"));
  [...picture.children].forEach((bar, index) => {
    const number = times.counts[from + index] ?? 0;
    const height = number === 0 ? 1 : Math.max(2, (number / most) * HEIGHT);
    bar.setAttribute("class", number === 0 ? "ground" : "");
    bar.setAttribute("x", index * WIDTH);
    bar.setAttribute("y", HEIGHT - height);
    bar.setAttribute("width", WIDTH - 1);
    bar.setAttribute("height", height);
  });
  const text = times.p50_ms === null
    ? "none yet"
    : `half ≤ ${duration(times.p50_ms)}, 99 % ≤ ${duration(times.p99_ms)}, max ${duration(times.max_ms)}`;
  setText(words, text);
  const all = times.counts.reduce((sum, number) => sum + number, 0);
  picture.setAttribute("aria-label", `${cell.dataset.what} of ${count(all)}: ${text}`);
}
