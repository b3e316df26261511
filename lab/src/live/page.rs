//! The page and its files, all inside this program.

use std::net::SocketAddr;

use askama::Template;
use axum::Router;
use axum::http::header;
use axum::response::Html;
use axum::routing::get;

use super::bounds;
use super::listing::{Listing, listing};
use crate::site::{Host, Places};
use crate::tour::Choice;

/// What the page may load, and from where: its own files, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

/// The files of the page, by their paths below `/live`.
const FILES: [(&str, &str, &str); 10] = [
    ("style.css", STYLE, include_str!("../../pages/style.css")),
    ("mark.svg", PICTURE, include_str!("../../pages/mark.svg")),
    ("main.js", SCRIPT, include_str!("../../pages/main.js")),
    ("server.js", SCRIPT, include_str!("../../pages/server.js")),
    ("figures.js", SCRIPT, include_str!("../../pages/figures.js")),
    ("lines.js", SCRIPT, include_str!("../../pages/lines.js")),
    ("loads.js", SCRIPT, include_str!("../../pages/loads.js")),
    ("experiments.js", SCRIPT, include_str!("../../pages/experiments.js")),
    ("stream.js", SCRIPT, include_str!("../../pages/stream.js")),
    ("job.js", SCRIPT, include_str!("../../pages/job.js")),
];

/// The page.
#[derive(Debug, Template)]
#[template(path = "live.html")]
struct Page {
    servers: [Server; 3],
    fib: Listing,
    experiments: Vec<Experiment>,
    stream: [Listing; 3],
    job: [Listing; 2],
}

/// A server as the picture names it.
#[derive(Debug)]
struct Server {
    name: Host,
    address: SocketAddr,
    /// Where it computes, in a few words.
    does: &'static str,
    /// The same, in a sentence.
    explained: &'static str,
    /// Whose CPU and memory are shown, if not its own.
    whose: &'static str,
}

impl Page {
    fn new(addresses: [SocketAddr; 3]) -> Self {
        let does = [
            ("in the handler", "computes in its handler, on one event-loop thread.", ""),
            ("on spawn_blocking", "computes on threads of its own process.", ""),
            ("on Outboard", "submits to worker processes of Outboard.", "workers’ "),
        ];
        let server = |at: usize| Server {
            name: Host::ALL[at],
            address: addresses[at],
            does: does[at].0,
            explained: does[at].1,
            whose: does[at].2,
        };
        let servers = std::array::from_fn(server);
        Self {
            servers,
            fib: listing("tasks.rs", &["fib"]),
            experiments: experiments(),
            stream: [
                listing("tasks.rs", &["fib_lines"]),
                listing("site/threads.rs", &["from_thread"]),
                listing("site/after.rs", &["lines"]),
            ],
            job: [listing("tasks.rs", &["report"]), listing("live/job.rs", &["report"])],
        }
    }
}

/// A section of the page.
#[derive(Debug)]
struct Experiment {
    id: &'static str,
    title: &'static str,
    /// What it is about, a paragraph each.
    story: &'static [&'static str],
    listings: Vec<Listing>,
    /// Whether a visitor may choose n; then which one it begins with.
    n: Option<&'static str>,
    requests: usize,
    least_requests: usize,
    most_requests: usize,
    /// What to make of it, once it has run.
    moral: &'static str,
}

impl Experiment {
    fn new(id: &'static str, choice: Choice, title: &'static str) -> Self {
        let allowed = bounds::requests(choice);
        Self {
            id,
            title,
            story: &[],
            listings: Vec::new(),
            n: None,
            requests: *allowed.start(),
            least_requests: *allowed.start(),
            most_requests: *allowed.end(),
            moral: "",
        }
    }

    /// Whether there is a choice.
    fn counts(&self) -> bool {
        self.least_requests < self.most_requests
    }
}

/// The page at `/`, and its files.
pub(super) fn router(places: &Places) -> Router {
    let page = Page::new(Host::ALL.map(|host| host.address(places)));
    let html = page.render().expect("the page's template has no failing parts");
    let guarded = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    let page = move || std::future::ready((guarded, Html(html.clone())));
    let mut router = Router::new().route("/", get(page));
    for (name, kind, text) in FILES {
        let headers = [
            (header::CONTENT_TYPE, kind),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::CACHE_CONTROL, "no-cache"),
        ];
        router =
            router.route(&format!("/live/{name}"), get(move || async move { (headers, text) }));
    }
    router
}

fn experiments() -> Vec<Experiment> {
    vec![
        Experiment {
            story: &[
                "A page that has nothing to compute answers within a millisecond or so, and a \
                 hundred visitors at once are no trouble: that is what an event loop is good at.",
            ],
            listings: vec![listing("site/pages.rs", &["fast"])],
            requests: 100,
            moral: "All three servers do the same here. What follows spoils it.",
            ..Experiment::new("fast", Choice::Fast, "A quick page")
        },
        Experiment {
            story: &["Now a page that computes, in the handler. One visitor waits as long as the \
                 computation takes. A hundred wait in line, because there is one thread."],
            listings: vec![listing("site/before.rs", &["fib"])],
            n: Some("short"),
            moral: "Moving the computation elsewhere costs one request next to nothing.",
            ..Experiment::new("fib", Choice::Fib, "A page that computes")
        },
        Experiment {
            story: &[
                "The damage is not to the slow page but to everybody else. One visitor asks for \
                 a long computation, and just after it another one asks for the quick page.",
                "Before, the second waits for the first. On threads it does not, as long as \
                 threads and cores last. After, the computation is in another process, below the \
                 server in the system's priority.",
            ],
            listings: vec![listing("site/before.rs", &["fib"]), listing("site/after.rs", &["fib"])],
            n: Some("long"),
            moral: "This is the one that matters: the quick page is quick again.",
            ..Experiment::new("behind", Choice::Behind, "The quick page behind a slow one")
        },
        Experiment {
            story: &[
                "Twenty visitors ask for the same computation at once. Before computes one after \
                 the other; after has a worker for each core.",
                "The notebook's figure after is flattered: Dask computes identical calls once. \
                 So both are shown here: each computed, and computed once for all.",
            ],
            listings: vec![listing("site/after.rs", &["fib", "coalesced_fib"])],
            n: Some("short"),
            requests: 20,
            moral: "Each computed: as fast as the cores are many. Once for all: as fast as one.",
            ..Experiment::new("parallel", Choice::Parallel, "Many at once")
        },
        Experiment {
            story: &[
                "What does it cost to send a function to another process, and to await what it \
                 gives? As little as x + 1 will show. The notebook's Dask takes 14 milliseconds; \
                 on this machine there is no scheduler between server and worker.",
            ],
            listings: vec![listing("tour/roundtrip.rs", &["of_client"])],
            requests: 1000,
            moral: "The median of one round trip. Threads of the same process are the measure.",
            ..Experiment::new("roundtrip", Choice::Roundtrip, "The round trip")
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::Page;
    use askama::Template;

    #[test]
    fn the_page_has_every_listing_and_escapes_it() {
        let page = Page::new(["127.0.0.1:9000".parse().expect("an address"); 3]);
        let html = page.render().expect("it has no failing parts");
        assert!(html.contains("compute.submit(tasks::fib, n)"), "{html}");
        assert!(html.contains("Result&#60;String, Problem&#62;"), "{html}");
        assert!(!html.contains("Result<"), "{html}");
    }
}
