// What happened to one task, in a dialog.

import { byId, duration, el } from "./dom.js";

const BASE = new URL(".", import.meta.url);

export async function story(task) {
  byId("story-title").textContent = `Task ${task}`;
  const { note, events } = await ask(task);
  byId("story-note").textContent = note;
  byId("story-events").replaceChildren(
    ...events.map(({ after_ms, text }) => el("li", {}, el("span", { class: "quiet" }, `+${duration(after_ms)}`), el("span", {}, text))),
  );
  if (!byId("story").open) byId("story").showModal();
}

async function ask(task) {
  try {
    const answer = await fetch(new URL(`story/${encodeURIComponent(task)}`, BASE));
    const { said, whole, events } = await answer.json();
    if (said) return { note: said[0].toUpperCase() + said.slice(1) + ".", events: [] };
    return { note: whole ? "" : "Its beginning is not kept any more.", events };
  } catch {
    return { note: "The server does not answer.", events: [] };
  }
}

// A button that reads as text.
export function link(task, text = `task ${task}`) {
  const made = el("button", { type: "button", class: "link", title: "What happened to it" }, text);
  made.onclick = () => story(task);
  return made;
}

byId("story-close").onclick = () => byId("story").close();
