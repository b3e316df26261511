// A page that comes as it is computed, of the three servers side by side.

import { ask } from "./server.js";

const KINDS = ["stream", "broken_stream"];

/** The section; give it loads, of which it shows the latest that is a stream. */
export function stream(section) {
  const find = (selector) => section.querySelector(selector);
  const [refused, leave] = [find(".refused"), find("[data-leave]")];
  const tell = (text) => (refused.textContent = text);
  const attempt = (path, wanted) => ask(path, wanted).then(() => tell(""), (error) => tell(error.message));
  const starts = [...section.querySelectorAll("[data-stream]")];
  const panes = [...section.querySelectorAll(".pane")];
  let [shown, lost] = [null, false];
  for (const start of starts) {
    start.addEventListener("click", () => attempt("/live/send", { what: start.dataset.stream, to: "all" }));
  }
  leave.addEventListener("click", () => attempt("/live/leave", { load: shown.id }));
  const allow = () => {
    const under_way = shown !== null && !shown.over;
    // A button that has the focus stays until the focus has another place.
    if (!under_way && document.activeElement === leave) starts[0].focus();
    leave.disabled = lost || !under_way;
    for (const start of starts) start.disabled = lost || under_way;
  };
  return {
    show(loads) {
      shown = loads.findLast((load) => KINDS.includes(load.what)) ?? null;
      section.dataset.load = shown?.id ?? "";
      section.dataset.over = shown?.over ?? "";
      for (const pane of panes) put(pane, shown);
      allow();
    },
    allow(gone) {
      lost = gone;
      allow();
    },
  };
}

/** What a server has sent, and what came of it. */
function put(pane, load) {
  const { server } = pane.dataset;
  const [text, outcome] = [pane.querySelector("pre"), pane.querySelector(".outcome")];
  const sent = load?.text?.[server] ?? "";
  if (text.textContent !== sent) {
    text.textContent = sent;
    text.scrollTop = text.scrollHeight;
  }
  const came = load?.came.find(([it]) => it === server)?.[1];
  const words = came ? [came.text, came.detail].filter((it) => it).join("; ") : load ? "under way" : "–";
  if (outcome.textContent !== words) outcome.textContent = words;
  outcome.className = `outcome ${came?.verdict ?? ""}`;
}
