// Keeps the events coming: connects again when they stop, and says since when.

const SILENCE_MS = 6000;
const RETRY_MS = 1500;
const HIDDEN_MS = 60000;
const NAMES = ["hello", "view", "turn", "crash", "panic", "missed", "end"];

export class Connection {
  // `hear(name, data)` gets each event, `tell(state, since)` what becomes of the
  // connection: "live", "lost", "ended" or "asleep".
  constructor(url, hear, tell) {
    Object.assign(this, { url, hear, tell, source: null, since: null, timer: 0, sleeping: false });
    document.addEventListener("visibilitychange", () => this.seen());
    this.open();
  }

  open() {
    this.close();
    const source = new EventSource(this.url);
    this.source = source;
    for (const name of NAMES) {
      source.addEventListener(name, (event) => {
        if (this.source === source) this.heard(name, JSON.parse(event.data));
      });
    }
    source.onerror = () => {
      if (this.source === source) this.lost();
    };
    this.expect(SILENCE_MS);
  }

  heard(name, data) {
    if (name === "end") this.ended = true;
    else {
      this.ended = false;
      this.since = null;
      this.tell("live", null);
    }
    this.expect(SILENCE_MS);
    this.hear(name, data);
  }

  lost() {
    this.since ??= new Date();
    this.tell(this.ended ? "ended" : "lost", this.since);
    this.close();
    this.expect(RETRY_MS);
  }

  // If nothing comes for so long, it is lost, or tried again.
  expect(ms) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => (this.source ? this.lost() : this.open()), ms);
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  // A page that nobody sees for a minute asks for nothing.
  seen() {
    clearTimeout(this.sleep);
    if (document.hidden) {
      this.sleep = setTimeout(() => {
        this.sleeping = true;
        this.close();
        this.tell("asleep", null);
      }, HIDDEN_MS);
    } else if (this.sleeping) {
      this.sleeping = false;
      this.open();
    }
  }
}
