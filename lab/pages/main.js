// Puts the page together.

import { equalWork, experiments } from "./experiments.js";
import { time } from "./figures.js";
import { picture } from "./lines.js";
import { loads } from "./loads.js";
import { follow } from "./server.js";

const find = (selector) => document.querySelector(selector);

const lines = picture(find("#picture"));
const showLoads = loads(find(".send"), find("#loads"), find("#send-refused"));
const showExperiments = experiments(document);

follow({
  state(state) {
    find("#connection").textContent =
      state === "open" ? "Connected to after." : "No connection to after: trying again.";
  },
  frame: lines.frame,
  board(board) {
    showLoads(board.loads);
    showExperiments(board);
    find("#client").textContent = board.client;
    if (board.calibration) find("#equal-work").textContent = equalWork(board.calibration);
  },
});

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", lines.redraw);
addEventListener("resize", lines.redraw);

// What this browser sees of `after`, beside what its server measured.
setInterval(async () => {
  if (document.hidden) return;
  const start = performance.now();
  const answer = await fetch("/fast", { cache: "no-store" }).catch(() => null);
  find("#own").textContent = answer?.ok ? time((performance.now() - start) / 1e3) : "no answer";
}, 1000);
