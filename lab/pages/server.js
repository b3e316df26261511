// What the page says to its server, and hears from it.

/** Frames come ten times a second: after so many milliseconds without one there is no server. */
const SILENCE = 3000;

/** How often that is looked at. */
const LOOK = 500;

/** Follows the stream of events; `on` has a function for each of them. */
export function follow(on) {
  let stream = null;
  let [heard, since] = [Date.now(), null];
  const open = () => {
    stream?.close();
    stream = new EventSource("/live/events");
    const hear = (name) =>
      stream.addEventListener(name, (event) => {
        heard = Date.now();
        if (since) {
          since = null;
          on.state("open");
        }
        on[name](JSON.parse(event.data));
      });
    hear("board");
    hear("frame");
    stream.addEventListener("open", () => since ?? on.state("open"));
    stream.addEventListener("error", lose);
  };
  const lose = () => {
    since ??= new Date(heard);
    on.state("lost", since);
  };
  open();
  setInterval(() => {
    if (document.hidden || Date.now() - heard < SILENCE) return;
    lose();
    if (stream.readyState === EventSource.CLOSED) open();
  }, LOOK);
  // A browser has six connections to a server: a tab that nobody sees keeps none.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return stream.close();
    heard = Date.now();
    open();
  });
}

/** Asks for something to be done; throws an error with the server's sentence. */
export async function ask(path, wanted) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(wanted),
  });
  if (answer.status === 204) return {};
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.detail);
  return said;
}
