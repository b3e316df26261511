// The moving picture: a line for each server, with a mark where something was sent.

import { size, time } from "./figures.js";

/** How many milliseconds the picture shows. */
const WINDOW = 30_000;

/** The scale, in milliseconds: equal ways up are equal factors. */
const [LEAST, MOST] = [0.3, 20_000];
const STEPS = [
  [1, "1 ms"],
  [10, "10 ms"],
  [100, "100 ms"],
  [1000, "1 s"],
  [10_000, "10 s"],
];

/** What is left for the names of times, and for the clock below, in pixels. */
const NAMES = 46;
const CLOCK = 15;

/** A picture that is lower than this has every other name, or no clock. */
const [ROOMY, CLOCKED] = [80, 58];

/** One that is narrower has no times between the first and now. */
const WIDE = 260;

/** A server that refused so lately, in milliseconds, is down. */
const DOWN = 350;

/** Other programs are told of by their share over so many moments. */
const MOMENTS = 30;

const SERVERS = ["before", "threads", "after"];
const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** The picture; give it frames, and loads to mark. */
export function picture(root) {
  const lines = SERVERS.map((name) => new Line(root.querySelector(`[data-server=${name}]`)));
  const others = [];
  let shown = 0;
  return {
    frame(frame) {
      lines.forEach((line, at) => line.add(frame.at, frame.servers[at]));
      others.push(frame.others);
      if (others.length > MOMENTS) others.shift();
      // Ten a second are a movement; one is a picture that is replaced.
      if (calm.matches && Math.abs(frame.at - shown) < 1000) return;
      shown = frame.at;
      requestAnimationFrame(() => lines.forEach((line) => line.draw()));
    },
    mark: (loads) => lines.forEach((line) => line.mark(loads)),
    redraw: () => lines.forEach((line) => line.draw()),
    /** The servers that are down. */
    down: () => SERVERS.filter((_, at) => lines[at].down),
    /** How many cores other programs have used of late. */
    others: () => (others.length < MOMENTS ? 0 : others.reduce((sum, it) => sum + it, 0) / others.length),
  };
}

class Line {
  constructor(root) {
    this.root = root;
    this.server = root.dataset.server;
    this.canvas = root.querySelector("canvas");
    this.moments = [];
    this.marks = [];
    this.down = false;
  }

  add(at, moment) {
    const last = this.moments.at(-1);
    // The server was started again, and counts from nothing.
    if (last && at < last.at) this.moments = [];
    this.moments.push({ at, ...moment });
    while (this.moments[0].at < at - WINDOW) this.moments.shift();
    this.say(at, moment);
  }

  mark(loads) {
    const own = (load) => load.came.find(([server]) => server === this.server);
    this.marks = loads.filter(own).map((load) => ({ name: load.id, at: load.at, until: own(load)[1]?.until }));
    this.root.dataset.marks = this.marks.map((mark) => mark.name).join(" ");
  }

  say(at, { ms, gone, cores, memory_bytes }) {
    const put = (name, text) => (this.root.querySelector(name).textContent = text);
    const worst = Math.max(...this.moments.map((it) => it.ms ?? 0));
    const stalls = ms !== null && ms > 200;
    this.down = this.moments.some((it) => it.gone && it.at > at - DOWN);
    put(".latency", this.down ? "down" : ms === null ? "–" : time(ms / 1e3));
    put(".worst", time(worst / 1e3));
    put(".cpu", `${Math.round(100 * cores)} %`);
    put(".memory", size(memory_bytes));
    this.root.classList.toggle("gone", this.down);
    this.root.classList.toggle("stalls", stalls && !this.down);
    const frames = this.moments.length;
    Object.assign(this.root.dataset, { ms: ms ?? "", worst, cores, gone: gone || this.down, frames });
  }

  draw() {
    const { canvas, moments } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const scale = devicePixelRatio;
    if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
    if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
    const style = getComputedStyle(this.root);
    const colour = (name) => style.getPropertyValue(`--${name}`);
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = `11px ${colour("sans")}`;
    pen.textBaseline = "middle";
    pen.lineWidth = 1;
    const floor = height - (height < CLOCKED ? 2 : CLOCK);
    const y = (ms) => {
      const share = Math.log10(Math.min(Math.max(ms, LEAST), MOST) / LEAST) / Math.log10(MOST / LEAST);
      return floor - 2 - share * (floor - 8);
    };
    const now = moments.at(-1)?.at ?? 0;
    const x = (at) => width - ((now - at) / WINDOW) * (width - NAMES);
    this.scales(pen, colour, { width, height, floor, x, y, now });
    this.sent(pen, colour, { floor, x, now });
    this.trace(pen, colour, { floor, x, y });
  }

  /** The names of times, and the clock. */
  scales(pen, colour, { width, height, floor, x, y, now }) {
    pen.strokeStyle = colour("rule");
    pen.fillStyle = colour("quiet");
    pen.textAlign = "right";
    STEPS.forEach(([ms, label], step) => {
      if (height < ROOMY && step % 2 === 1) return;
      const at = Math.round(y(ms)) + 0.5;
      pen.beginPath();
      pen.moveTo(NAMES, at);
      pen.lineTo(width, at);
      pen.stroke();
      pen.fillText(label, NAMES - 6, at);
    });
    if (height < CLOCKED) return;
    for (const seconds of width < WIDE ? [30, 0] : [30, 20, 10, 0]) {
      pen.textAlign = seconds === 30 ? "left" : seconds === 0 ? "right" : "center";
      pen.fillText(seconds === 0 ? "now" : `−${seconds} s`, x(now - seconds * 1000), floor + 8);
    }
  }

  /** What was sent: from when to when, with its number in the list. */
  sent(pen, colour, { floor, x, now }) {
    pen.textAlign = "left";
    for (const { name, at, until } of this.marks) {
      if (at < now - WINDOW || at > now) continue;
      const [from, to] = [x(at), x(Math.min(until ?? now, now))];
      pen.fillStyle = colour("panel");
      pen.fillRect(from, 0, Math.max(1, to - from), floor);
      pen.strokeStyle = pen.fillStyle = colour("ink");
      pen.setLineDash([3, 2]);
      pen.beginPath();
      pen.moveTo(Math.round(from) + 0.5, 0);
      pen.lineTo(Math.round(from) + 0.5, floor);
      pen.stroke();
      pen.setLineDash([]);
      pen.fillText(String(name), from + 3, 6);
    }
  }

  trace(pen, colour, { floor, x, y }) {
    pen.lineWidth = 2;
    pen.lineJoin = "round";
    pen.strokeStyle = colour("ink-of-line");
    pen.fillStyle = colour("danger");
    let drawing = false;
    pen.beginPath();
    for (const { at, ms } of this.moments) {
      if (ms === null) {
        drawing = false;
      } else {
        pen[drawing ? "lineTo" : "moveTo"](x(at), y(ms));
        drawing = true;
      }
    }
    pen.stroke();
    for (const { at, gone } of this.moments) {
      if (gone) pen.fillRect(x(at) - 2, floor - 6, 4, 6);
    }
  }
}
