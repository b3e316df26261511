// The moving picture: a line for each server.

import { size, time } from "./figures.js";

/** How many milliseconds the picture shows. */
const WINDOW = 30_000;

/** The scale, in milliseconds: equal ways up are equal factors. */
const [LEAST, MOST] = [0.3, 20_000];
const STEPS = [
  [1, "1 ms"],
  [50, "50 ms"],
  [1000, "1 s"],
  [10_000, "10 s"],
];

/** What is left for the scale's names, in pixels. */
const NAMES = 46;

const SERVERS = ["before", "threads", "after"];
const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** The picture; give it frames. */
export function picture(root) {
  const lines = SERVERS.map((name) => new Line(root.querySelector(`[data-server=${name}]`)));
  let shown = 0;
  return {
    frame(frame) {
      lines.forEach((line, at) => line.add(frame.at, frame.servers[at]));
      // Ten a second are a movement; one is a picture that is replaced.
      if (calm.matches && frame.at - shown < 1000) return;
      shown = frame.at;
      requestAnimationFrame(() => lines.forEach((line) => line.draw()));
    },
    redraw: () => lines.forEach((line) => line.draw()),
  };
}

class Line {
  constructor(root) {
    this.root = root;
    this.canvas = root.querySelector("canvas");
    this.moments = [];
  }

  add(at, moment) {
    const last = this.moments.at(-1);
    // The server was started again, and counts from nothing.
    if (last && at < last.at) this.moments = [];
    this.moments.push({ at, ...moment });
    while (this.moments[0].at < at - WINDOW) this.moments.shift();
    this.say(moment);
  }

  say({ ms, gone, cores, memory_bytes }) {
    const put = (name, text) => (this.root.querySelector(name).textContent = text);
    const worst = Math.max(...this.moments.map((it) => it.ms ?? 0));
    const stalls = ms !== null && ms > 200;
    put(".latency", gone ? "gone" : ms === null ? "–" : time(ms / 1e3));
    put(".worst", time(worst / 1e3));
    put(".cpu", `${Math.round(100 * cores)} %`);
    put(".memory", size(memory_bytes));
    this.root.classList.toggle("gone", gone);
    this.root.classList.toggle("stalls", stalls);
    const frames = this.moments.length;
    Object.assign(this.root.dataset, { ms: ms ?? "", worst, cores, gone, frames });
  }

  draw() {
    const { canvas, moments } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const scale = devicePixelRatio;
    if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
    if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
    const style = getComputedStyle(this.root);
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    const y = (ms) => {
      const share = Math.log10(Math.min(Math.max(ms, LEAST), MOST) / LEAST) / Math.log10(MOST / LEAST);
      return height - 4 - share * (height - 8);
    };
    this.grid(pen, style, width, y);
    if (!moments.length) return;
    const now = moments.at(-1).at;
    const x = (at) => width - ((now - at) / WINDOW) * (width - NAMES);
    this.trace(pen, style, x, y, height);
  }

  grid(pen, style, width, y) {
    pen.font = `11px ${style.getPropertyValue("--sans")}`;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    pen.lineWidth = 1;
    pen.strokeStyle = style.getPropertyValue("--rule");
    pen.fillStyle = style.getPropertyValue("--quiet");
    for (const [ms, label] of STEPS) {
      const at = Math.round(y(ms)) + 0.5;
      pen.beginPath();
      pen.moveTo(NAMES, at);
      pen.lineTo(width, at);
      pen.stroke();
      pen.fillText(label, NAMES - 8, at);
    }
  }

  trace(pen, style, x, y, height) {
    pen.lineWidth = 2;
    pen.lineJoin = "round";
    pen.strokeStyle = style.getPropertyValue("--ink-of-line");
    pen.fillStyle = style.getPropertyValue("--gone");
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
      if (gone) pen.fillRect(x(at) - 2, height - 6, 4, 6);
    }
  }
}
