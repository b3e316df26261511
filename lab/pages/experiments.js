// The experiments: what a visitor asks for, where that is in the queue, and
// the figures.

import { bars, element, time } from "./figures.js";
import { ask } from "./server.js";

/** What the notebook reports, in seconds, where a run has nothing of its own to say. */
const NOTEBOOK = {
  fast: [["before, 100 requests", 0.217]],
  fib: [["before, fib(28)", 0.111]],
  behind: [["before", 3.44], ["after", 0.0058]],
  parallel: [["before", 2.3], ["after, coalesced", 0.34]],
  roundtrip: [["after", 0.01438]],
};

/** What a bar is called, where its server's name does not say all. */
const LABELS = {
  slow: (server) => `${server}, the slow page`,
  parallel: (server) => (server === "after" ? "after, each computed" : server),
  parallel_coalesced: (server) => `${server}, coalesced`,
};

/** All experiments of the page; give it boards. */
export function experiments(root) {
  const all = [...root.querySelectorAll("[data-experiment]")].map((section) => new Experiment(section));
  return (board) => all.forEach((experiment) => experiment.show(board));
}

class Experiment {
  constructor(section) {
    this.name = section.dataset.experiment;
    this.form = section.querySelector("form");
    this.status = section.querySelector(".status");
    this.figures = section.querySelector(".figures");
    this.refused = section.querySelector(".refused");
    this.mine = new Set();
    this.drawn = null;
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.run();
    });
    this.draw([]);
  }

  async run() {
    const field = (name) => Number(this.form.elements[name]?.value ?? 0);
    const wanted = { experiment: this.name, n: field("n"), requests: field("requests") };
    try {
      const { id } = await ask("/live/run", wanted);
      this.mine.add(id);
      this.refused.textContent = "";
    } catch (error) {
      this.refused.textContent = error.message;
    }
  }

  show({ calibration, queue, running, runs }) {
    if (calibration) this.know(calibration);
    const at = queue.findIndex((ticket) => ticket.experiment === this.name);
    this.status.textContent = this.where(queue, running, at);
    const own = runs.filter((run) => run.experiment === this.name);
    const newest = own.at(-1)?.id ?? null;
    if (newest !== this.drawn) {
      this.drawn = newest;
      this.draw(own);
    }
  }

  /** Begins with an n that is equal work on this machine. */
  know(calibration) {
    const field = this.form.elements.n;
    if (!field || field.dataset.known) return;
    field.dataset.known = "yes";
    field.max = calibration.most_n;
    field.value = field.dataset.n === "short" ? calibration.short_n : calibration.long_n;
  }

  where(queue, running, at) {
    if (running?.experiment === this.name) return `measuring: ${running.now}`;
    if (at < 0) return "";
    const ahead = at + (running ? 1 : 0);
    const whose = this.mine.has(queue[at].id) ? "yours" : "another visitor’s";
    return ahead === 0 ? `waiting (${whose}): next` : `waiting (${whose}): ${ahead} before it`;
  }

  draw(runs) {
    const run = runs.at(-1);
    const rows = [...this.notebook(run), ...(run ? this.here(run, runs.slice(0, -1)) : [])];
    const parts = [bars(rows)];
    if (run) parts.unshift(element("p", "asked", this.asked(run)));
    if (run?.failure) parts.push(element("p", "refused", `It failed: ${run.failure}`));
    this.figures.replaceChildren(...parts);
    this.figures.dataset.run = run?.id ?? "";
  }

  asked({ n, requests }) {
    const count = requests === 1 ? "1 request" : `${requests} requests`;
    const computes = this.form.elements.n ? `, fib(${n})` : "";
    return `${count}${computes}; thin marks are earlier runs`;
  }

  notebook(run) {
    const said = (run?.outcomes ?? []).filter((outcome) => outcome.notebook_seconds !== null);
    const own = said.map((outcome) => [label(outcome), outcome.notebook_seconds]);
    const figures = own.length ? own : NOTEBOOK[this.name];
    return figures.map(([server, seconds]) => ({
      label: `the notebook, ${server}`,
      seconds,
      kind: "notebook",
    }));
  }

  here(run, earlier) {
    return run.outcomes.map((outcome) => {
      const same = (it) => it.name === outcome.name && it.server === outcome.server;
      const alike = earlier.filter((it) => it.n === run.n && it.requests === run.requests);
      return {
        label: label(outcome),
        seconds: outcome.seconds,
        kind: outcome.server,
        fault: outcome.errors ? `${outcome.errors} failed` : undefined,
        earlier: alike.flatMap((it) => it.outcomes.filter(same).map((found) => found.seconds)),
      };
    });
  }
}

const label = (outcome) => LABELS[outcome.name]?.(outcome.server) ?? outcome.server;

/** What equal work is on this machine, in a sentence. */
export function equalWork({ short_n, long_n, long_seconds }) {
  return (
    `Python takes 111 ms for the notebook’s fib(28) and 3.21 s for its fib(35). On this machine that is ` +
    `about fib(${short_n}) and fib(${long_n}), which takes ${time(long_seconds)}: the experiments begin with those.`
  );
}
