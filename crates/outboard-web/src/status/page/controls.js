// What one may do here, where the server allows it; never without being asked twice.

import { byId, el } from "./dom.js";

const BASE = new URL(".", import.meta.url);

async function post(path) {
  try {
    const answer = await fetch(new URL(path, BASE), {
      method: "POST",
      headers: { "x-outboard-status": "1" },
    });
    const body = await answer.json().catch(() => null);
    say(body?.said ?? `the server answered ${answer.status}`);
  } catch {
    say("the server does not answer");
  }
}

let quiet = 0;

function say(text) {
  byId("said").textContent = text[0].toUpperCase() + text.slice(1) + ".";
  clearTimeout(quiet);
  quiet = setTimeout(() => (byId("said").textContent = ""), 6000);
}

export function ask(title, text, yes, path) {
  byId("ask-title").textContent = title;
  byId("ask-text").textContent = text;
  byId("ask-yes").textContent = yes;
  byId("ask-yes").onclick = () => {
    byId("ask").close();
    post(path);
  };
  byId("ask-no").onclick = () => byId("ask").close();
  byId("ask").showModal();
}

export function button(label, name, press) {
  const made = el("button", { type: "button", "aria-label": name }, label);
  made.addEventListener("click", press);
  return made;
}
