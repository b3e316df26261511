// What the page says to its server, and hears from it.

/** Follows the stream of events; `on` has a function for each of them. */
export function follow(on) {
  const open = () => {
    const stream = new EventSource("/live/events");
    stream.addEventListener("open", () => on.state("open"));
    stream.addEventListener("error", () => on.state("lost"));
    stream.addEventListener("board", (event) => on.board(JSON.parse(event.data)));
    stream.addEventListener("frame", (event) => on.frame(JSON.parse(event.data)));
    return stream;
  };
  let stream = open();
  // A browser has six connections to a server: a tab that nobody sees keeps none.
  document.addEventListener("visibilitychange", () => {
    stream.close();
    if (!document.hidden) stream = open();
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
