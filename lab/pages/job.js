// A job that goes on while its page is closed: this browser remembers where it is.

import { time } from "./figures.js";
import { ask } from "./server.js";

/** Under which name it is remembered. */
const KEPT = "outboard.job";

/** How often a job that has not ended is asked about, in milliseconds. */
const LOOK = 300;

/** The section of the job. */
export function job(section) {
  const find = (selector) => section.querySelector(selector);
  const [start, stop] = ["start", "stop"].map((name) => find(`[data-job=${name}]`));
  const [bar, link, outcome, refused] = ["progress", "a", ".outcome", ".refused"].map(find);
  const tell = (error) => (refused.textContent = error?.message ?? "");
  let place = localStorage.getItem(KEPT);
  let [state, lost, timer] = [null, false, null];

  const allow = () => {
    const goes_on = state === "queued" || state === "running";
    if (!goes_on && document.activeElement === stop) start.focus();
    start.disabled = lost || goes_on;
    stop.disabled = lost || !goes_on;
  };
  const say = (now, words) => {
    state = section.dataset.state = now;
    if (outcome.textContent !== words) outcome.textContent = words;
    allow();
  };
  const show = (told) => {
    const { done = 0, total = 1 } = told.state === "done" ? { done: 1 } : (told.progress ?? {});
    Object.assign(bar, { max: total, value: done });
    section.dataset.done = done;
    link.hidden = false;
    link.href = place;
    say(told.state, words(told));
  };
  const look = async () => {
    clearTimeout(timer);
    const asked = place;
    const answer = await fetch(asked).catch(() => null);
    // Another one was started meanwhile.
    if (asked !== place) return;
    if (answer?.status === 404 || answer?.status === 410) {
      localStorage.removeItem(KEPT);
      place = null;
      link.hidden = true;
      return say("gone", "The job of this browser is not kept any more.");
    }
    if (answer?.ok) show(await answer.json());
    if (!answer?.ok || state === "queued" || state === "running") timer = setTimeout(look, LOOK);
  };

  start.addEventListener("click", async () => {
    try {
      const told = await ask("/live/report", {});
      place = `/live/jobs/${told.id}`;
      localStorage.setItem(KEPT, place);
      tell();
      show(told);
      look();
    } catch (error) {
      tell(error);
    }
  });
  stop.addEventListener("click", async () => {
    await fetch(place, { method: "DELETE" }).then(() => tell(), tell);
    look();
  });
  if (place) look();
  return {
    allow(gone) {
      lost = gone;
      allow();
    },
  };
}

function words({ state, progress, output, problem, submitted_at_ms, ended_at_ms }) {
  const since = `It was started at ${new Date(submitted_at_ms).toLocaleTimeString()}`;
  const took = () => time((ended_at_ms - submitted_at_ms) / 1e3);
  switch (state) {
    case "queued":
      return `${since}, and waits for a worker.`;
    case "running":
      return progress ? `${since}: ${progress.done} of ${progress.total} ${progress.text}.` : `${since}, and runs.`;
    case "done":
      return `${since}, and took ${took()}: ${output}.`;
    case "cancelled":
      return `${since}, and was stopped after ${took()}. Its worker was killed.`;
    default:
      return `${since}, and failed after ${took()}: ${problem?.detail}`;
  }
}
