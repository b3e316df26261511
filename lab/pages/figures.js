// Figures as people read them, and bars on a common scale.

/** Three digits. */
const digits = (number) => number.toFixed(number < 9.995 ? 2 : number < 99.95 ? 1 : 0);

/** A time in seconds, as `14.4 µs`, `5.26 ms` or `11.4 s`. */
export function time(seconds) {
  if (seconds < 999.5e-6) return `${digits(seconds * 1e6)} µs`;
  if (seconds < 0.9995) return `${digits(seconds * 1e3)} ms`;
  return `${digits(seconds)} s`;
}

/** Bytes, as `12 MB`. */
export const size = (bytes) => `${Math.round(bytes / 1e6)} MB`;

/** An element with a class, a text, and children. */
export function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/** Where the longest is so many times the shortest, lengths are logarithms. */
const FAR_APART = 30;

/** A logarithmic scale begins so many decades before the shortest: it is to be seen. */
const ROOM = 0.3;

/**
 * A scale for times in seconds: `share` of the width for each, `ticks` to write below,
 * and whether it is `logarithmic`: from a power of ten below the least to one above the most.
 */
export function scale(times) {
  const [least, most] = [Math.min(...times), Math.max(...times)];
  if (most < FAR_APART * least) {
    const ticks = [0, 0.5, 1].map((share) => ({ share, text: share ? time(share * most) : "0" }));
    return { logarithmic: false, ticks, share: (seconds) => seconds / most };
  }
  const from = Math.floor(Math.log10(least) - ROOM);
  const decades = Math.ceil(Math.log10(most)) - from;
  const every = decades > 4 ? 2 : 1;
  const ticks = [];
  for (let at = 0; at <= decades; at += every) {
    ticks.push({ share: at / decades, text: round(10 ** (from + at)) });
  }
  return { logarithmic: true, ticks, share: (seconds) => (Math.log10(seconds) - from) / decades };
}

/** A power of ten of seconds, as `10 µs`. */
function round(seconds) {
  const [unit, name] = seconds < 0.9e-3 ? [1e-6, "µs"] : seconds < 0.9 ? [1e-3, "ms"] : [1, "s"];
  return `${Math.round(seconds / unit)} ${name}`;
}

/**
 * A list of bars on one scale. Each has a label, a time in seconds, and a kind that
 * gives its colour; `earlier` are times of runs before, drawn as thin marks.
 */
export function bars(rows) {
  const { logarithmic, ticks, share } = scale(rows.flatMap((row) => [row.seconds, ...(row.earlier ?? [])]));
  const percent = (seconds) => `${100 * share(seconds)}%`;
  const list = element("ul", "bars");
  for (const row of rows) {
    const bar = element("span", "bar");
    bar.style.width = percent(row.seconds);
    const track = element("span", "track", bar);
    for (const seconds of row.earlier ?? []) {
      const mark = element("span", "mark");
      mark.style.left = percent(seconds);
      mark.title = `an earlier run: ${time(seconds)}`;
      track.append(mark);
    }
    const label = element("span", "label", row.label);
    const figure = element("span", "figure", row.fault ?? time(row.seconds));
    const item = element("li", row.kind, label, track, figure);
    item.dataset.seconds = row.seconds;
    if (row.fault) item.classList.add("failed");
    if (row.earlier?.length) {
      const times = row.earlier.map(time).join(", ");
      item.append(element("span", "hidden", `; earlier runs: ${times}`));
    }
    list.append(item);
  }
  const axis = element("div", "axis", element("span", "track"));
  axis.setAttribute("aria-hidden", "true");
  for (const { share, text } of ticks) {
    const tick = element("span", "tick", text);
    tick.style.left = `${100 * share}%`;
    axis.firstChild.append(tick);
  }
  const words = logarithmic ? "Shorter is better. The scale is logarithmic." : "Shorter is better.";
  const figure = element("div", logarithmic ? "chart logarithmic" : "chart", list, axis);
  figure.append(element("p", "asked", words));
  return figure;
}
