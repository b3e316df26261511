// The page: each event of the server changes what it is about.

import { alerts } from "./alerts.js";
import { Connection } from "./connection.js";
import { ask } from "./controls.js";
import { byId, clock, count, duration, el, keyed, plural, setClass, setText, short } from "./dom.js";
import { Reports } from "./reports.js";
import { story } from "./story.js";
import { Stream, legend } from "./stream.js";
import * as tables from "./tables.js";

const FRAME_MS = 100;
const LINES_OF_A_TURN = 20;

const stream = new Stream(byId("stream"), drawn);
const reports = new Reports((at_ms) => stream.date(at_ms));
const rates = [];
let view = null;
// What came before the first view, which brings the clock.
let early = [];

const hear = {
  hello({ new: fresh, names }) {
    if (fresh) {
      stream.clear();
      reports.clear();
      view = null;
      early = [];
    }
    stream.names = names;
  },
  view(data) {
    view = data;
    stream.view(view);
    early.splice(0).forEach(([name, data]) => hear[name](data));
    show();
  },
  turn(turn) {
    if (!view) return void early.push(["turn", turn]);
    // Those of the past were in the greeting.
    const fresh = turn.names.filter((name) => !stream.names.includes(name));
    stream.turn({ ...turn, names: fresh });
    lines(turn);
  },
  crash: (report) => (view ? reports.crash(report) : early.push(["crash", report])),
  panic: (report) => (view ? reports.panic(report) : early.push(["panic", report])),
  missed: ({ messages }) => reports.line(stream.now(), `This page was too slow and missed ${plural(messages, "message")}.`, "warn"),
  end: () => {},
};

new Connection(new URL("events", import.meta.url), (name, data) => hear[name](data), connected);

function connected(state, since) {
  const lost = state === "lost" || state === "ended";
  const words = {
    live: "live",
    lost: `no connection since ${since && clock(since)}; trying again`,
    ended: `the server is ending; no connection since ${since && clock(since)}`,
    asleep: "paused while the tab was hidden",
  };
  setText(byId("connection"), words[state]);
  document.body.classList.toggle("stale", lost);
  if (lost) badge("no connection", "bad");
  else if (view) show();
}

function badge(text, kind) {
  setText(byId("state"), text);
  setClass(byId("state"), `badge ${kind}`);
}

function show() {
  const left = alerts(view, show);
  const severe = left.some((alert) => alert.severe);
  if (!view.open) badge(view.tasks.running + view.tasks.queued ? "draining" : "closed", "bad");
  else badge(severe ? "in trouble" : left.length ? "needs a look" : "all well", severe ? "bad" : left.length ? "warn" : "ok");
  document.title = `${left.length ? `(${left.length}) ` : ""}Status · Outboard`;
  setText(byId("engine"), view.engine);
  setText(byId("uptime"), `up ${duration(view.uptime_ms)}`);
  byId("drain").hidden = !view.controls || !view.open;
  tiles();
  tables.pools(view);
  tables.workers(view);
  tables.queue(view);
  tables.tenants(view);
  tables.functions(view);
  tables.batches(view);
}

// Tasks done in a second, over the last five.
function rate() {
  const { uptime_ms: at, tasks: { done } } = view;
  if (rates.length && (rates.at(-1).done > done || rates.at(-1).at > at)) rates.length = 0;
  rates.push({ at, done });
  while (rates.length > 2 && rates[0].at < at - 5000) rates.shift();
  const [first] = rates;
  return at - first.at < 300 ? "…" : count(((done - first.done) * 1000) / (at - first.at));
}

function tiles() {
  const { tasks, admission, workers } = view;
  const busy = workers.filter((worker) => worker.state === "busy" || worker.state === "stopping").length;
  const up = workers.filter((worker) => worker.state !== "standby").length;
  const spare = workers.length - up;
  const full = tasks.queued / Math.max(1, admission.queue_limit);
  const all = [
    ["Workers busy", `${busy} of ${up}`, spare ? `and ${spare} standing by` : "", up < view.least_workers ? "warn" : ""],
    // A scheduler tells now and then which of its workers has which task: this is ahead of it.
    ...(view.engine === "dask" ? [["At the cluster", count(tasks.running), "sent, and not ended", ""]] : []),
    ["Waiting", count(tasks.queued), `of ${count(admission.queue_limit)} at most`, full > 0.75 ? "bad" : full > 0.5 ? "warn" : ""],
    ["Predicted wait", duration(admission.predicted_wait_ms), "for the whole queue", admission.predicted_wait_ms > 10000 ? "warn" : ""],
    ["Done in a second", rate(), `${count(tasks.done)} since the start`, ""],
    ["Failed", count(tasks.failed), `${count(tasks.cancelled)} cancelled, ${count(tasks.timed_out)} timed out`, ""],
    ["Refused", count(admission.refused), `${plural(tasks.coalesced, "submit")} shared a task`, ""],
  ];
  keyed(byId("tiles"), all, ([name]) => name, () => el("div", {}, el("dt"), el("dd"), el("dd")), (node, [name, value, rest, kind]) => {
    setText(node.children[0], name);
    setText(node.children[1], value);
    setClass(node.children[1], kind);
    setText(node.children[2], rest);
    setClass(node.children[2], "rest");
  });
}

// What happened beside ordinary work, a line for each.
function lines({ bars, marks }) {
  const told = new Set();
  const found = [];
  for (const bar of bars) {
    if (bar.end === "done") continue;
    told.add(`${bar.end} ${bar.worker}`);
    const kind = bar.end === "failed" || bar.end === "lost" ? "bad" : "warn";
    found.push([bar.to_ms, `${short(stream.told(bar).split(",")[0])}, ${stream.told(bar).split(", ").slice(1).join(", ")}, on worker ${bar.worker}`, kind, bar.task]);
  }
  const words = {
    up: ["is up", ""],
    killed: ["was killed", "warn"],
    lost: ["crashed", "bad"],
    recycled: ["was replaced", ""],
    dismissed: ["was not needed any more", ""],
    worn: ["is to be replaced", ""],
  };
  for (const { worker, at_ms, what } of marks) {
    if (told.has(`${what} ${worker}`)) continue;
    found.push([at_ms, `worker ${worker} ${words[what][0]}`, words[what][1]]);
  }
  found.sort((a, b) => a[0] - b[0]);
  const more = found.length - LINES_OF_A_TURN;
  found.slice(0, LINES_OF_A_TURN).forEach((line) => reports.line(...line));
  if (more > 0) reports.line(stream.now(), `and ${more} more at once`);
}

// After each picture: its words, and what is under the pointer.
function drawn() {
  const canvas = byId("stream");
  const label = stream.label();
  if (canvas.getAttribute("aria-label") !== label) canvas.setAttribute("aria-label", label);
  setText(byId("detail"), stream.under() ?? " ");
  setText(byId("span"), `${stream.span() / 1000} s`);
  byId("pause").setAttribute("aria-pressed", String(stream.frozen !== null));
  const sampled = stream.sampled();
  byId("sampled").hidden = sampled === "";
  setText(byId("sampled"), sampled);
  legend(byId("legend"), stream);
}

byId("search").oninput = () => view && tables.functions(view);
byId("stream").addEventListener("click", () => {
  const task = stream.task();
  if (task) story(task);
});
byId("pause").onclick = () => stream.pause();
byId("earlier").onclick = () => stream.move(-0.5);
byId("later").onclick = () => stream.move(0.5);
byId("in").onclick = () => stream.zoomBy(-1);
byId("out").onclick = () => stream.zoomBy(1);
byId("drain").onclick = () =>
  ask("Drain this client?", "Every submit is refused until the server is restarted.", "Drain it", "drain");

setInterval(() => {
  if (!document.hidden && stream.frozen === null) stream.draw();
}, FRAME_MS);
addEventListener("resize", () => stream.draw());
stream.draw();
