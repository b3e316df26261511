// Workers, queue, tenants and task functions as tables; the wide ones are cards on a
// phone.

import { ask, button } from "./controls.js";
import { byId, bytes, count, duration, el, keyed, plural, setClass, setText } from "./dom.js";
import { makeHistogram, range, updateHistogram, updateSizes } from "./histogram.js";
import { link } from "./story.js";

const LONG_MS = 60000;

// A table with these columns: a label, and a class for its cells.
function table(id, columns) {
  const node = byId(id);
  if (node.tBodies.length === 0) {
    const heads = columns.map(([label, name]) => el("th", { scope: "col", class: name }, label));
    node.append(el("thead", {}, el("tr", {}, ...heads)), el("tbody"));
  }
  return node.tBodies[0];
}

function row(columns) {
  return el("tr", {}, ...columns.map(([label, name]) => el("td", { class: name, "data-label": label })));
}

// Text, with more of it in small letters; a cell that says nothing has no label either.
function fill(cell, text, small = "") {
  cell.classList.toggle("blank", (text === "" || text === "–") && small === "");
  if (cell.childNodes.length === 0) cell.append("", el("small"));
  if (cell.firstChild.data !== text) cell.firstChild.data = text;
  setText(cell.lastChild, small && ` ${small}`);
}

// How many rows a long table has until all are asked for.
const FEW = 10;
const whole = new Set();

// Shows a table, a word instead of an empty one, or the first rows of a long one;
// gives the rows to show. `more` are those that the server left out.
function rows(id, items, more = 0) {
  byId(`no-${id}`)?.toggleAttribute("hidden", items.length > 0);
  byId(id).hidden = items.length === 0;
  const note = byId(`more-${id}`);
  if (!note) return items;
  note.hidden = items.length <= FEW && more === 0;
  const [press, rest] = note.children;
  press.hidden = items.length <= FEW;
  press.onclick ??= () => {
    if (!whole.delete(id)) whole.add(id);
  };
  press.setAttribute("aria-expanded", String(whole.has(id)));
  setText(press, whole.has(id) ? "Show fewer" : `Show ${count(items.length)}`);
  setText(rest, more === 0 ? "" : ` and ${count(more)} more that are not shown`);
  return whole.has(id) ? items : items.slice(0, FEW);
}

const POOLS = [
  ["Pool", ""], ["Busy", "number"], ["Workers", "number"], ["Waiting", "number"], ["Predicted wait", "number"],
  ["Done", "number"], ["Not done", ""], ["Memory", "number"], ["Restarts", "number"],
];

// How many workers there are to be: a number, or a range.
function bounds({ wanted_workers, least_workers, most_workers }) {
  const range = least_workers < most_workers ? `, ${count(least_workers)} to ${count(most_workers)}` : "";
  return `of ${count(wanted_workers)}${range}`;
}

// The pools side by side, where there are several.
export function pools(view) {
  byId("pools-section").hidden = view.pools.length === 0;
  const body = table("pools", POOLS);
  keyed(body, view.pools, (pool) => pool.pool, () => row(POOLS), (node, pool) => {
    const [name, busy, workers, waiting, wait, done, rest, memory, ends] = node.cells;
    const { tasks, admission } = pool;
    fill(name, pool.pool, pool.open ? "" : "accepts no tasks");
    fill(busy, count(pool.busy));
    fill(workers, count(pool.up), [bounds(pool), pool.standby ? `${count(pool.standby)} standing by` : ""].filter(Boolean).join(", "));
    fill(waiting, count(tasks.queued), `of ${count(admission.queue_limit)}`);
    fill(wait, duration(admission.predicted_wait_ms));
    fill(done, count(tasks.done));
    const { failed, cancelled, timed_out } = tasks;
    fill(rest, missed({ failed, panicked: 0, lost: 0, cancelled, timed_out, refused: admission.refused }) || "–");
    fill(memory, pool.memory_bytes ? bytes(pool.memory_bytes) : "–");
    const { killed, lost, recycled, dismissed } = pool.restarts;
    fill(ends, count(killed + lost + recycled + dismissed), restarts(pool.restarts));
  });
}

const WORKERS = [
  ["Worker", ""], ["State", "state"], ["Task", "wide"], ["For", "number age"], ["CPU", "number"],
  ["Memory", "number"], ["Tasks done", "number"], ["Restarts", "number"], ["Action", "action wide"],
];

// How much of a core each worker had of late.
const usage = new Map();

function cpu(worker, uptime_ms) {
  if (worker.cpu_ms === null) return "–";
  const before = usage.get(worker.number);
  if (!before || before.pid !== worker.pid) {
    usage.set(worker.number, { pid: worker.pid, cpu_ms: worker.cpu_ms, at_ms: uptime_ms, part: null });
  } else if (uptime_ms - before.at_ms >= 1000) {
    const part = (worker.cpu_ms - before.cpu_ms) / (uptime_ms - before.at_ms);
    usage.set(worker.number, { pid: worker.pid, cpu_ms: worker.cpu_ms, at_ms: uptime_ms, part });
  }
  const { part } = usage.get(worker.number);
  return part === null ? "…" : `${Math.round(100 * part)} %`;
}

function restarts({ killed, lost, recycled, dismissed }) {
  const parts = Object.entries({ killed, lost, recycled, dismissed });
  return parts.filter(([, number]) => number > 0).map(([why, number]) => `${count(number)} ${why}`).join(", ");
}

export function workers(view) {
  const acts = view.controls;
  const columns = acts ? WORKERS : WORKERS.slice(0, -1);
  const body = table("workers", columns);
  const shown = rows("workers", view.workers, view.more_workers);
  keyed(body, shown, (worker) => worker.number, () => row(columns), (node, worker) => {
    const [name, state, task, age, used, memory, done, ends, action] = node.cells;
    const current = worker.task;
    setClass(node, `${worker.state}${current && current.run_ms > LONG_MS ? " long" : ""}`);
    const pid = worker.pid ? `pid ${worker.pid}` : "";
    const pool = view.pools.length ? [worker.pool, worker.slot].filter((part) => part !== null).join(" ") : "";
    fill(name, String(worker.number), [pool, worker.address, pid].filter(Boolean).join(", "));
    if (!state.firstElementChild) state.append(el("i", { class: "dot", "aria-hidden": "true" }), el("span"));
    fill(state.lastChild, worker.state, worker.worn ? `to be replaced: ${worker.worn}` : "");
    executes(task, current);
    fill(age, current ? duration(current.run_ms) : "");
    fill(used, cpu(worker, view.uptime_ms), worker.cpu_ms === null ? "" : duration(worker.cpu_ms));
    const share = worker.proportional_bytes ?? null;
    fill(memory, bytes(worker.memory_bytes), share === null ? "" : `${bytes(share)} PSS`);
    fill(done, count(worker.done), worker.next_in_line ? `${plural(worker.next_in_line, "task")} ahead` : "");
    const { killed, lost, recycled, dismissed } = worker.restarts;
    fill(ends, count(killed + lost + recycled + dismissed), restarts(worker.restarts));
    if (action) offer(action, worker, view.engine !== "dask");
  });
}

// What a worker executes; a click on the task tells its story.
function executes(cell, task) {
  const attempt_of = task ? `${task.task} ${task.attempt}` : "";
  if (cell.dataset.task !== attempt_of) {
    cell.dataset.task = attempt_of;
    fill(cell, task?.function ?? "");
    cell.classList.toggle("blank", !task);
    if (task) cell.lastChild.replaceChildren(" ", link(task.task), el("span"));
  }
  // The link stays: somebody may be about to press it.
  if (task) setText(cell.lastChild.lastChild, told(task));
}

function told(task) {
  const tenant = task.tenant === null ? "" : `, for ${task.tenant}`;
  const attempt = task.attempt > 1 ? `, attempt ${task.attempt}` : "";
  const progress = task.progress ? `: ${task.progress}` : "";
  const items = task.items > 0 ? `, ${plural(task.items, "item")} of ${bytes(task.bytes)}` : "";
  return `${attempt}${tenant}${items}${progress}`;
}

// A cluster's workers are not this server's to replace.
function offer(cell, worker, replaceable) {
  const task = worker.task?.task ?? "";
  const wanted = `${task} ${worker.state === "standby"}`;
  if (cell.dataset.offers === wanted) return;
  cell.dataset.offers = wanted;
  const buttons = [];
  if (task) {
    buttons.push(button("Cancel", `Cancel task ${task}`, () =>
      ask(`Cancel task ${task}?`, `${worker.task.function} on worker ${worker.number}: all its callers get an error.`,
        "Cancel it", `cancel/${task}`)));
  }
  if (replaceable && worker.state !== "standby") {
    buttons.push(" ", button("Recycle", `Recycle worker ${worker.number}`, () =>
      ask(`Recycle worker ${worker.number}?`, "Another one is started first; what this one runs is finished.",
        "Recycle it", `recycle/${worker.number}`)));
  }
  cell.replaceChildren(...buttons);
}

const QUEUE = [["Priority", ""], ["Tenant", ""], ["Waiting", "number"], ["Oldest waits for", "number"]];

const named = (tenant) => tenant ?? "(none named)";

export function queue(view) {
  const body = table("queue", QUEUE);
  keyed(body, rows("queue", view.queue, view.more_lines), (line) => `${line.priority} ${line.tenant}`, () => row(QUEUE), (node, line) => {
    const [priority, tenant, waiting, oldest] = node.cells;
    fill(priority, String(line.priority));
    fill(tenant, named(line.tenant));
    fill(waiting, count(line.queued));
    fill(oldest, duration(line.oldest_ms));
  });
}

const TENANTS = [["Tenant", ""], ["Done", "number"], ["Not done", ""], ["Run time", "number"]];

export function tenants(view) {
  const body = table("tenants", TENANTS);
  const shown = rows("tenants", view.tenants, view.more_tenants);
  keyed(body, shown, (row) => String(row.tenant), () => row(TENANTS), (node, { tenant, outcomes, run_ms }) => {
    const [name, done, rest, run] = node.cells;
    fill(name, named(tenant));
    fill(done, count(outcomes.done));
    fill(rest, missed(outcomes) || "–");
    fill(run, duration(run_ms));
  });
}

const FUNCTIONS = [["Function", "wide"], ["Done", "number"], ["Not done", ""], ["Run", "times wide"], ["Wait", "times wide"], ["CPU", "number"]];

export function functions(view) {
  const body = table("functions", FUNCTIONS);
  const buckets = range(view.functions.flatMap((row) => [row.run, row.wait]));
  const make = () => {
    const node = row(FUNCTIONS);
    node.cells[3].append(makeHistogram("Run times"));
    node.cells[4].append(makeHistogram("Waits"));
    return node;
  };
  const sought = byId("search").value.trim().toLowerCase();
  const found = rows("functions", view.functions).filter((row) => row.function.toLowerCase().includes(sought));
  byId("no-match").hidden = found.length > 0 || view.functions.length === 0;
  keyed(body, found, (row) => row.function, make, (node, row) => {
    const [name, done, rest, run, wait, used] = node.cells;
    fill(name, row.function);
    fill(done, count(row.outcomes.done));
    fill(rest, missed(row.outcomes) || "–");
    updateHistogram(run.firstChild, row.run, buckets);
    updateHistogram(wait.firstChild, row.wait, buckets);
    const peak = row.peak_memory_bytes;
    fill(used, duration(row.cpu_ms), peak === null ? "" : `peak ${bytes(peak)}`);
  });
}

const BATCHES = [["Function", "wide"], ["Calls", "number"], ["Tasks", "number"], ["Tasks in a call", "times wide"], ["Held open", "times wide"]];

// How large batches were, where functions take any.
export function batches(view) {
  const all = view.functions.filter((row) => row.batches);
  byId("batches-section").hidden = all.length === 0;
  const body = table("batches", BATCHES);
  const buckets = range(all.map((row) => row.batches.held));
  const make = () => {
    const node = row(BATCHES);
    node.cells[3].append(makeHistogram("Sizes of batches"));
    node.cells[4].append(makeHistogram("Times held open"));
    return node;
  };
  keyed(body, all, (row) => row.function, make, (node, row) => {
    const [name, calls, tasks, sizes, held] = node.cells;
    fill(name, row.function);
    fill(calls, count(row.batches.calls));
    fill(tasks, count(row.batches.tasks));
    updateSizes(sizes.firstChild, row.batches);
    updateHistogram(held.firstChild, row.batches.held, buckets);
  });
}

function missed({ failed, panicked, lost, cancelled, timed_out, refused }) {
  const other = failed - panicked - lost;
  const all = { panicked, crashed: lost, failed: other, cancelled, "timed out": timed_out, refused };
  return Object.entries(all).filter(([, number]) => number > 0).map(([how, number]) => `${count(number)} ${how}`).join(", ");
}
