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

/**
 * A list of bars. Each has a label, a time in seconds, and a kind that gives
 * its colour; `earlier` are times of runs before, drawn as thin marks. All are on
 * one scale, which begins at nothing.
 */
export function bars(rows) {
  const longest = Math.max(...rows.flatMap((row) => [row.seconds, ...(row.earlier ?? [])]));
  const share = (seconds) => `${(100 * seconds) / longest}%`;
  const list = element("ul", "bars");
  for (const row of rows) {
    const bar = element("span", "bar");
    bar.style.width = share(row.seconds);
    const track = element("span", "track", bar);
    for (const seconds of row.earlier ?? []) {
      const mark = element("span", "mark");
      mark.style.left = share(seconds);
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
  return list;
}
