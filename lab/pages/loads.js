// The buttons of the picture, and what came of each.

import { element } from "./figures.js";
import { ask } from "./server.js";

const NAMES = {
  slow: "3 s computation",
  many: "20 at once",
  flood: "a tenant’s flood",
  crash: "crash",
  hoard: "memory hog",
  stream: "ten lines",
  broken_stream: "ten lines, a crash",
};

/** The buttons; give `show` what the board says of loads, and `allow` who is not there. */
export function loads(form, sent, refused) {
  const [list, clear, nothing] = ["#loads", "#clear", "#nothing"].map((id) => sent.querySelector(id));
  const tell = (text) => (refused.textContent = text);
  const attempt = (path, wanted) => ask(path, wanted).then(() => tell(""), (error) => tell(error.message));
  const to = () => new FormData(form).get("to");
  const buttons = [...form.querySelectorAll("button")];
  let [lost, down] = [false, []];
  const allow = () => {
    const nobody = lost || down.includes(to());
    for (const button of buttons) {
      button.disabled = nobody;
      button.title = nobody ? "no server is there to send it to" : "";
    }
    clear.disabled = lost;
    for (const leave of list.querySelectorAll("button")) leave.disabled = lost;
  };
  for (const button of buttons) {
    button.addEventListener("click", () => attempt("/live/send", { what: button.dataset.what, to: to() }));
  }
  form.addEventListener("change", allow);
  clear.addEventListener("click", () => {
    buttons[0].focus();
    attempt("/live/clear", {});
  });
  const rows = new Map();
  return {
    show(all) {
      for (const load of all) {
        if (!rows.has(load.id)) {
          rows.set(load.id, row(load, () => attempt("/live/leave", { load: load.id }), buttons[0]));
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
      nothing.hidden = all.length > 0;
      clear.hidden = !all.some((load) => load.over);
    },
    allow(gone, servers) {
      if (gone === lost && servers.join() === down.join()) return;
      [lost, down] = [gone, servers];
      allow();
    },
  };
}

/** A load: its name, what came of it on each server, and the button to leave it. */
function row(load, leave, other) {
  const item = element("li", "load");
  const results = element("dl", "came");
  const button = element("button", "leave", "Leave");
  button.type = "button";
  button.setAttribute("aria-label", `Leave ${load.id}, ${NAMES[load.what]}`);
  button.addEventListener("click", leave);
  const name = element("span", "what", element("span", "number", String(load.id)), NAMES[load.what]);
  item.append(name, results, button);
  item.dataset.load = load.id;
  item.dataset.what = load.what;
  const show = ({ came, over }) => {
    item.classList.toggle("over", over);
    // A button that has the focus stays until the focus has another place.
    if (over && document.activeElement === button) other.focus();
    button.hidden = over;
    results.replaceChildren(
      ...came.map(([server, result]) => {
        const text = element("dd", result?.verdict ?? "", result ? result.text : "under way");
        if (result?.detail) text.append(" ", element("small", "", result.detail));
        const entry = element("div", "", element("dt", "", server), text);
        entry.dataset.server = server;
        return entry;
      }),
    );
  };
  return { item, show };
}
