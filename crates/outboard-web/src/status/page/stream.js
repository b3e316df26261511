// The task stream: a row for each worker, a bar for each run, drawn on a canvas.

import { clock, count, duration, el, plural, short, svg } from "./dom.js";

const SPANS_S = [1, 2, 5, 10, 30, 60, 120, 300, 600];
const STEPS_S = [0.2, 0.5, 1, 2, 5, 10, 20, 60, 120];
const DEFAULT = 4;
// Bars come some time after they end.
const LAG_MS = 350;
const MOST_BARS = 20000;
const KEPT_MS = 600000;
const LABEL = 34;
const AXIS = 20;
const COLOURS = 8;

const WORDS = {
  done: "done",
  failed: "failed",
  unwanted: "ran on after its cancel",
  killed: "killed after its cancel",
  lost: "its worker crashed",
};

export class Stream {
  constructor(canvas, changed) {
    Object.assign(this, { canvas, changed, zoom: DEFAULT, frozen: null, offset: null });
    this.clear();
    const restyle = () => (this.colours = null);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", restyle);
    this.listen();
  }

  clear() {
    Object.assign(this, { names: [], palette: new Map(), rows: new Map(), marks: [], workers: [], left: [], total: 0 });
  }

  now() {
    return this.offset === null ? 0 : performance.now() - this.offset;
  }

  // The date of a moment on the server's clock.
  date(at_ms) {
    return new Date(Date.now() - (this.now() - at_ms));
  }

  view(view) {
    this.offset = performance.now() - view.uptime_ms;
    view.functions.forEach((row) => this.number(row.function));
    this.workers = view.workers.filter((worker) => worker.state !== "standby" || this.rows.has(worker.number));
  }

  turn(turn) {
    this.names.push(...turn.names);
    for (const bar of turn.bars) {
      if (!this.rows.has(bar.worker)) this.rows.set(bar.worker, []);
      this.rows.get(bar.worker).push(bar);
    }
    this.marks.push(...turn.marks);
    this.total += turn.bars.length;
    if (turn.untold + turn.left_out > 0) {
      this.left.push({ at_ms: this.now(), untold: turn.untold, left_out: turn.left_out });
    }
    this.forget();
  }

  // Drops what is too old, or too much.
  forget() {
    const share = Math.max(100, Math.floor(MOST_BARS / Math.max(1, this.rows.size)));
    const oldest = this.now() - KEPT_MS;
    for (const bars of this.rows.values()) {
      if (bars.length > 1.2 * share) bars.splice(0, bars.length - share);
      const gone = bars.findIndex((bar) => bar.to_ms >= oldest);
      if (gone > 100) bars.splice(0, gone);
    }
    if (this.marks.length > 5000) this.marks.splice(0, 1000);
    this.left = this.left.filter((left) => left.at_ms > this.now() - 60000);
  }

  pause(paused = this.frozen === null) {
    this.frozen = paused ? (this.frozen ?? this.now() - LAG_MS) : null;
    this.draw();
  }

  move(spans) {
    this.shift(spans * this.span());
  }

  shift(ms) {
    const right = (this.frozen ?? this.now() - LAG_MS) + ms;
    this.frozen = right >= this.now() - LAG_MS ? null : Math.max(right, 0);
    this.draw();
  }

  zoomBy(steps) {
    this.zoom = Math.min(SPANS_S.length - 1, Math.max(0, this.zoom + steps));
    this.draw();
  }

  span() {
    return SPANS_S[this.zoom] * 1000;
  }

  listen() {
    const canvas = this.canvas;
    const keys = {
      " ": () => this.pause(),
      ArrowLeft: () => this.move(-0.25),
      ArrowRight: () => this.move(0.25),
      "+": () => this.zoomBy(-1),
      "=": () => this.zoomBy(-1),
      "-": () => this.zoomBy(1),
      End: () => this.pause(false),
    };
    canvas.addEventListener("keydown", (event) => {
      const act = keys[event.key];
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act();
    });
    let drag = null;
    canvas.addEventListener("pointerdown", (event) => {
      drag = event.clientX;
      this.dragged = false;
    });
    window.addEventListener("pointerup", () => (drag = null));
    canvas.addEventListener("pointermove", (event) => {
      if (drag !== null && Math.abs(event.clientX - drag) > 3) {
        const width = canvas.clientWidth - LABEL;
        this.shift(((drag - event.clientX) / width) * this.span());
        drag = event.clientX;
        this.dragged = true;
      }
      this.hover = { x: event.offsetX, y: event.offsetY };
      this.changed(this);
    });
    canvas.addEventListener("pointerleave", () => {
      this.hover = null;
      this.changed(this);
    });
  }

  style() {
    if (!this.colours) {
      const style = getComputedStyle(document.documentElement);
      const of = (name) => style.getPropertyValue(`--${name}`).trim();
      this.colours = { functions: Array.from({ length: COLOURS }, (_, index) => of(`f${index}`)) };
      for (const name of ["several", "row", "ink", "quiet", "line", "bad", "warn", "ok", "card"]) {
        this.colours[name] = of(name);
      }
    }
    return this.colours;
  }

  // Each function has its colour from when it is first seen.
  number(name) {
    if (!this.palette.has(name)) this.palette.set(name, this.palette.size);
    return this.palette.get(name);
  }

  colour(name) {
    const { functions, several } = this.style();
    return name === undefined ? several : functions[this.number(name) % COLOURS];
  }

  layout() {
    const rows = this.workers.map((worker) => worker.number);
    const height = rows.length <= 16 ? 24 : rows.length <= 48 ? 14 : 8;
    return { rows, height };
  }

  draw() {
    const { canvas } = this;
    const { rows, height } = this.layout();
    const width = canvas.clientWidth;
    const total = Math.max(1, rows.length) * height + AXIS;
    const ratio = window.devicePixelRatio || 1;
    const wanted = [Math.round(width * ratio), Math.round(total * ratio)];
    if (canvas.width !== wanted[0] || canvas.height !== wanted[1]) {
      [canvas.width, canvas.height] = wanted;
      canvas.style.height = `${total}px`;
    }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, total);
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    this.right = this.frozen ?? this.now() - LAG_MS;
    this.scale = (width - LABEL) / this.span();
    this.shown = { done: 0, failed: 0, unwanted: 0, killed: 0, lost: 0, running: 0 };
    this.axis(context, width, total);
    this.workers.forEach((worker, index) => this.row(context, worker, index * height, height, width));
    this.changed(this);
  }

  x(at_ms) {
    return LABEL + (at_ms - this.right + this.span()) * this.scale;
  }

  axis(context, width, total) {
    const step = STEPS_S[this.zoom] * (width < 520 ? 2 : 1) * 1000;
    const { quiet, line } = this.style();
    const wall = this.date(this.right).getTime();
    for (let at = Math.floor(wall / step) * step; at > wall - this.span(); at -= step) {
      const x = Math.round(this.x(this.right - (wall - at))) + 0.5;
      if (x < LABEL) break;
      context.fillStyle = line;
      context.fillRect(x, 0, 1, total - AXIS + 4);
      const text = step < 1000 ? `${clock(new Date(at))}.${Math.floor((at % 1000) / 100)}` : clock(new Date(at));
      const half = context.measureText(text).width / 2;
      if (x - half < LABEL - 8 || x + half > width) continue;
      context.fillStyle = quiet;
      context.fillText(text, x - half, total - AXIS / 2 + 2);
    }
  }

  row(context, worker, y, height, width) {
    const { row, quiet, card } = this.style();
    context.fillStyle = quiet;
    if (height > 10) context.fillText(String(worker.number), 4, y + height / 2);
    context.fillStyle = row;
    context.globalAlpha = 0.75;
    context.fillRect(LABEL, y + 1, width - LABEL, height - 2);
    context.globalAlpha = 1;
    const bars = this.rows.get(worker.number) ?? [];
    const left = this.right - this.span();
    let drawn = -1;
    for (let at = first(bars, left); at < bars.length; at += 1) {
      const bar = bars[at];
      if (bar.from_ms > this.right) break;
      this.shown[bar.end] += bar.count;
      const from = Math.max(LABEL, this.x(bar.from_ms));
      const to = Math.max(from + 1, this.x(bar.to_ms));
      if (bar.end === "done" && to <= drawn + 1) continue;
      drawn = to;
      this.bar(context, bar, from, Math.min(to, width), y, height);
      // So that runs one right after the other are two.
      context.fillStyle = card;
      if (to - from > 4) context.fillRect(to - 0.5, y + 3, 0.5, height - 6);
    }
    this.running(context, worker, bars, y, height);
    for (const mark of this.marks) {
      if (mark.worker !== worker.number || mark.at_ms < left || mark.at_ms > this.right) continue;
      this.mark(context, mark.what, this.x(mark.at_ms), y, height);
    }
  }

  bar(context, bar, from, to, y, height) {
    const { bad } = this.style();
    const length = bar.to_ms - bar.from_ms;
    context.fillStyle = this.colour(this.names[bar.function]);
    context.globalAlpha = bar.count > 1 && length > 0 ? 0.35 + 0.65 * Math.min(1, bar.busy_ms / length) : 1;
    if (bar.end === "unwanted") context.globalAlpha = 0.35;
    context.fillRect(from, y + 3, to - from, height - 6);
    context.globalAlpha = 1;
    if (bar.end === "failed" || bar.end === "lost") {
      context.fillStyle = bad;
      context.fillRect(from, y + height - 5, to - from, 3);
    }
  }

  running(context, worker, bars, y, height) {
    const { task } = worker;
    if (!task || task.since_ms > this.right) return;
    if (bars.some((bar) => bar.task === task.task && bar.from_ms >= task.since_ms - 50)) return;
    this.shown.running += 1;
    const from = Math.max(LABEL, this.x(task.since_ms));
    context.fillStyle = this.colour(task.function);
    context.globalAlpha = 0.6;
    context.fillRect(from, y + 3, Math.max(1, this.x(this.right) - from), height - 6);
    context.globalAlpha = 1;
    context.fillRect(from, y + 3, 2, height - 6);
  }

  mark(context, what, x, y, height) {
    const { warn, bad, ok, quiet } = this.style();
    const middle = y + height / 2;
    context.lineWidth = 2;
    context.beginPath();
    if (what === "killed") {
      context.fillStyle = warn;
      context.moveTo(x - 5, y + 1);
      context.lineTo(x + 5, y + 1);
      context.lineTo(x, y + 10);
      context.fill();
    } else if (what === "lost") {
      context.strokeStyle = bad;
      context.moveTo(x - 5, middle - 5);
      context.lineTo(x + 5, middle + 5);
      context.moveTo(x + 5, middle - 5);
      context.lineTo(x - 5, middle + 5);
      context.stroke();
    } else if (what === "up") {
      context.fillStyle = ok;
      context.fillRect(x - 1, y + 1, 2, height - 2);
    } else if (what !== "worn") {
      context.strokeStyle = quiet;
      context.arc(x, middle, 3.5, 0, 7);
      context.stroke();
    }
  }

  // What is under the pointer: the worker, the time, and the bar or the task that runs.
  pointed() {
    if (!this.hover) return null;
    const { height } = this.layout();
    const worker = this.workers[Math.floor(this.hover.y / height)];
    if (!worker || this.hover.x < LABEL) return null;
    const at = this.right - this.span() + (this.hover.x - LABEL) / this.scale;
    const slack = 2 / this.scale;
    const bars = this.rows.get(worker.number) ?? [];
    const bar = bars.findLast((bar) => bar.from_ms - slack <= at && at <= bar.to_ms + slack);
    const { task } = worker;
    return { worker, at, bar, running: !bar && task && task.since_ms <= at ? task : null };
  }

  // The same, in a line.
  under() {
    const pointed = this.pointed();
    if (!pointed) return null;
    const { worker, at, bar, running } = pointed;
    const where = `worker ${worker.number}, ${clock(this.date(at))}`;
    if (bar) return `${this.told(bar)} · ${where}`;
    return running ? `${running.function}, task ${running.task}, runs · ${where}` : where;
  }

  // The task under the pointer, if it is one: a bar may be of several.
  task() {
    const { bar, running } = this.pointed() ?? {};
    return this.dragged ? null : (bar?.task ?? running?.task ?? null);
  }

  told(bar) {
    const name = bar.function === null ? "several functions" : this.names[bar.function];
    if (bar.count > 1) {
      return `${plural(bar.count, "task")} of ${name}, busy ${duration(bar.busy_ms)} of ${duration(bar.to_ms - bar.from_ms)}`;
    }
    const task = bar.task ? `, task ${bar.task}` : "";
    return `${name}${task}, ${duration(bar.to_ms - bar.from_ms)}, ${WORDS[bar.end]}`;
  }

  // What the picture shows, for who does not see it.
  label() {
    const parts = Object.entries(this.shown ?? {}).filter(([, number]) => number > 0);
    const words = parts.map(([what, number]) => `${count(number)} ${what}`);
    const state = this.frozen === null ? "" : ", paused";
    return `Task stream, ${SPANS_S[this.zoom]} s, ${plural(this.workers.length, "worker")}${state}: ${words.join(", ") || "nothing"}`;
  }

  sampled() {
    const sum = (key) => this.left.reduce((sum, left) => sum + left[key], 0);
    const parts = [];
    if (sum("untold") > 0) parts.push(`${plural(sum("untold"), "event")} not recorded`);
    if (sum("left_out") > 0) parts.push(`${plural(sum("left_out"), "bar")} not drawn`);
    return parts.length ? `The bars are a sample: in the last minute ${parts.join(" and ")}. Counts and histograms are complete.` : "";
  }
}

// The first bar that ends after a time.
function first(bars, at_ms) {
  let [low, high] = [0, bars.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (bars[middle].to_ms < at_ms) low = middle + 1;
    else high = middle;
  }
  return low;
}

// A swatch for each function, and the signs.
export function legend(list, stream) {
  const names = [...stream.palette.keys()];
  const signature = `${names.join()} ${matchMedia("(prefers-color-scheme: dark)").matches}`;
  if (list.dataset.signature === signature) return;
  list.dataset.signature = signature;
  const { bad, warn, ok, several } = stream.style();
  const swatch = (fill) => [svg("rect", { width: 12, height: 12, rx: 2, fill })];
  const rows = names.slice(0, COLOURS).map((name) => [swatch(stream.colour(name)), short(name), name]);
  if (names.length > COLOURS) rows.push([swatch(several), `and ${names.length - COLOURS} more`, ""]);
  rows.push([[svg("path", { d: "M1 1h10l-5 9z", fill: warn })], "killed: its task was cancelled", ""]);
  rows.push([[svg("path", { d: "M1 1l10 10M11 1l-10 10", stroke: bad, "stroke-width": 2 })], "crashed", ""]);
  rows.push([[svg("rect", { y: 8, width: 12, height: 3, fill: bad })], "failed", ""]);
  rows.push([[svg("rect", { x: 5, width: 2, height: 12, fill: ok })], "a worker is up", ""]);
  list.replaceChildren(...rows.map(([shapes, text, title]) => {
    const sign = svg("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" });
    sign.append(...shapes);
    return el("li", title ? { title } : {}, sign, text);
  }));
}
