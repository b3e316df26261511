// The last crashes and panics in full, and a line for all else that happened.

import { byId, bytes, clock, duration, el, short } from "./dom.js";
import { link } from "./story.js";

const REPORTS = 32;
const LINES = 100;

export class Reports {
  // `when(at_ms)` is the date of a moment.
  constructor(when) {
    this.when = when;
    this.seen = new Set();
  }

  clear() {
    this.seen.clear();
    byId("reports").replaceChildren();
    byId("log").replaceChildren();
    byId("no-reports").hidden = false;
    byId("no-log").hidden = false;
  }

  crash(report) {
    const facts = [
      ["Worker", `${report.worker}, pid ${report.pid}`],
      ["Task function", report.function || "none"],
      ["Ended by", report.cause ?? "not known"],
      ["Memory shortage", report.shortage],
      ["Attempt", report.function ? report.attempt : null],
      ["Ran", report.run_ms === null ? null : duration(report.run_ms)],
      ["CPU time", report.cpu_ms === null ? null : duration(report.cpu_ms)],
      ["Memory", memory(report)],
      ["Arguments", report.function ? `${bytes(report.argument_bytes)}, digest ${report.argument_digest}` : null],
    ];
    const title = report.shortage ?? report.cause ?? "lost";
    const where = report.function ? ` in ${short(report.function)}` : "";
    const key = `crash ${report.at_ms} ${report.worker}`;
    this.add(key, report, `${title}${where}, worker ${report.worker}`, facts, [
      ["Last lines of stderr", report.stderr.join("\n")],
    ]);
  }

  panic(report) {
    const facts = [
      ["Worker", String(report.worker)],
      ["Task", link(report.task, report.task)],
      ["Task function", report.function],
      ["Where", report.location],
    ];
    const key = `panic ${report.at_ms} ${report.task}`;
    this.add(key, report, `panic in ${short(report.function)}, worker ${report.worker}`, facts, [
      ["Message", report.message],
      ["Backtrace", report.backtrace],
    ]);
  }

  add(key, report, title, facts, texts) {
    if (this.seen.has(key)) return;
    this.seen.add(key);
    const date = this.when(report.at_ms);
    const time = el("time", { datetime: date.toISOString() }, clock(date));
    const list = el("dl");
    for (const [name, value] of facts) {
      if (value !== null && value !== "") list.append(el("dt", {}, name), el("dd", {}, value instanceof Node ? value : String(value)));
    }
    const all = el("details", {}, el("summary", {}, time, " ", el("b", {}, title)), list);
    for (const [name, text] of texts) {
      if (text !== "") all.append(el("p", { class: "quiet" }, name), el("pre", { tabindex: "0", role: "region", "aria-label": name }, text));
    }
    all.dataset.at = report.at_ms;
    const reports = byId("reports");
    const older = [...reports.children].find((other) => Number(other.dataset.at) < report.at_ms);
    reports.insertBefore(all, older ?? null);
    while (reports.children.length > REPORTS) reports.lastChild.remove();
    byId("no-reports").hidden = true;
  }

  line(at_ms, text, kind = "", task = null) {
    const date = this.when(at_ms);
    const time = el("time", { datetime: date.toISOString() }, clock(date));
    const story = task ? [" ", link(task, "story")] : [];
    byId("log").prepend(el("li", {}, time, el("span", { class: kind }, text, ...story)));
    while (byId("log").children.length > LINES) byId("log").lastChild.remove();
    byId("no-log").hidden = true;
  }
}

function memory(report) {
  if (report.memory_bytes === null) return null;
  const before = report.memory_at_start_bytes;
  return bytes(report.memory_bytes) + (before === null ? "" : `, ${bytes(before)} before the task`);
}
