// The buttons of the picture, and what came of each.

import { element } from "./figures.js";
import { ask } from "./server.js";

const NAMES = {
  slow: "a 3 s computation",
  many: "20 at once",
  flood: "a flood of one tenant",
  crash: "a crash",
  hoard: "a memory hog",
};

/** The buttons; give it what the board says of loads. */
export function loads(form, list, refused) {
  const tell = (text) => (refused.textContent = text);
  const attempt = (path, wanted) => ask(path, wanted).then(() => tell(""), (error) => tell(error.message));
  for (const button of form.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      const to = new FormData(form).get("to");
      attempt("/live/send", { what: button.dataset.what, to });
    });
  }
  const rows = new Map();
  return (all) => {
    for (const load of all) {
      if (!rows.has(load.id)) {
        rows.set(load.id, row(load, () => attempt("/live/leave", { load: load.id })));
        list.prepend(rows.get(load.id).item);
      }
      rows.get(load.id).show(load);
    }
    const numbers = new Set(all.map((load) => load.id));
    for (const [id, { item }] of rows) {
      if (!numbers.has(id)) {
        item.remove();
        rows.delete(id);
      }
    }
  };
}

/** A load: its name, what came of it on each server, and the button to leave it. */
function row(load, leave) {
  const item = element("li", "load");
  const results = element("dl", "came");
  const button = element("button", "leave", "Leave");
  button.type = "button";
  button.setAttribute("aria-label", `Leave ${NAMES[load.what]}`);
  button.addEventListener("click", leave);
  item.append(element("span", "what", NAMES[load.what]), results, button);
  item.dataset.load = load.id;
  item.dataset.what = load.what;
  const show = ({ came, over }) => {
    item.classList.toggle("over", over);
    // A button that has the focus stays until the focus has another place.
    if (over && document.activeElement === button) item.closest("section").querySelector("[data-what]").focus();
    button.hidden = over;
    results.replaceChildren(
      ...came.map(([server, result]) => {
        const text = element("dd", result?.failed ? "failed" : "", result ? result.text : "under way");
        const entry = element("div", "", element("dt", "", server), text);
        entry.dataset.server = server;
        return entry;
      }),
    );
  };
  return { item, show };
}
