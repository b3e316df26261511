// What needs attention, less what somebody here has acknowledged: each alert until it ends.

import { byId, el, keyed, plural, setClass, setText } from "./dom.js";
import { button } from "./controls.js";

const PLACE = `outboard acknowledged ${location.pathname}`;

// What is more severe than it was is another alert.
const keyOf = (alert) => `${alert.severe} ${alert.key}`;

const acknowledged = new Set(load());

function load() {
  try {
    return JSON.parse(localStorage.getItem(PLACE) ?? "[]");
  } catch {
    return [];
  }
}

function keep() {
  try {
    localStorage.setItem(PLACE, JSON.stringify([...acknowledged]));
  } catch {
    // A browser that keeps nothing knows it until the page is closed.
  }
}

// Shows them; gives those that nobody has acknowledged.
export function alerts(view, again) {
  const keys = new Set(view.alerts.map(keyOf));
  const over = [...acknowledged].filter((key) => !keys.has(key));
  over.forEach((key) => acknowledged.delete(key));
  if (over.length) keep();
  const left = view.alerts.filter((alert) => !acknowledged.has(keyOf(alert)));
  const make = (alert) =>
    el("li", {}, el("span"), button("Acknowledge", `Acknowledge: ${alert.text}`, () => {
      acknowledged.add(keyOf(alert));
      keep();
      again();
      byId("attention").focus();
    }));
  keyed(byId("alerts"), left, keyOf, make, (node, alert) => {
    setText(node.firstChild, alert.text);
    setClass(node, `alert${alert.severe ? " severe" : ""}`);
  });
  byId("well").hidden = view.alerts.length > 0;
  byId("acknowledged").hidden = acknowledged.size === 0;
  setText(byId("acknowledged").firstElementChild, `${plural(acknowledged.size, "alert")} acknowledged here. `);
  byId("unacknowledge").onclick = () => {
    acknowledged.clear();
    keep();
    again();
    byId("attention").focus();
  };
  return left;
}
