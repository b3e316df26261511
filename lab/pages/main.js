// Puts the page together.

import { equalWork, experiments } from "./experiments.js";
import { time } from "./figures.js";
import { picture } from "./lines.js";
import { job } from "./job.js";
import { loads } from "./loads.js";
import { follow } from "./server.js";
import { stream } from "./stream.js";

/** Others who use this part of the machine's cores are told of. */
const BUSY = 0.5;

const find = (selector) => document.querySelector(selector);

const lines = picture(find("#picture"));
const sent = loads(find(".send"), find("#sent"), find("#send-refused"));
const showExperiments = experiments(document);
const text = stream(find("#stream"));
const report = job(find("#job"));
let lost = false;

follow({
  state(state, since) {
    lost = state === "lost";
    const when = since?.toLocaleTimeString();
    say("#lost", lost ? `No connection to after since ${when}. The figures are the last ones known. Trying again.` : "");
    find("#connection").textContent = lost ? `No connection to after since ${when}.` : "Connected to after.";
    document.body.classList.toggle("lost", lost);
    for (const run of document.querySelectorAll(".go")) run.disabled = lost;
    text.allow(lost);
    report.allow(lost);
    sent.allow(lost, lines.down());
  },
  frame(frame) {
    lines.frame(frame);
    const down = lines.down();
    say("#down", down.length ? `${listed(down)} down: whoever asks gets no answer.` : "");
    say("#busy", busy(frame.cores));
    sent.allow(lost, down);
  },
  board(board) {
    sent.show(board.loads);
    lines.mark(board.loads);
    text.show(board.loads);
    showExperiments(board);
    find("#client").textContent = board.client;
    if (board.calibration) find("#equal-work").textContent = equalWork(board.calibration);
  },
});

/** Shows a text where it belongs, and nothing where there is none. */
function say(place, text) {
  const node = find(place);
  if (node.textContent === text) return;
  node.textContent = text;
  node.hidden = text === "";
}

const listed = (names) => `${names.join(" and ")} ${names.length === 1 ? "is" : "are"}`;

function busy(cores) {
  const others = lines.others();
  if (others < BUSY * cores) return "";
  return (
    `Other programs use ${others.toFixed(1)} of this machine’s ${cores} cores. Workers yield to them ` +
    `(their nice value is 10), so after is slower here than it has to be.`
  );
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", lines.redraw);
addEventListener("resize", lines.redraw);

// What this browser sees of `after`, beside what its server measured.
setInterval(async () => {
  if (document.hidden || lost) return;
  const start = performance.now();
  const answer = await fetch("/fast", { cache: "no-store" }).catch(() => null);
  find("#own").textContent = answer?.ok ? time((performance.now() - start) / 1e3) : "no answer";
}, 1000);
