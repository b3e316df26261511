//! The status page: what a client and its engine do, live, for a person who looks.

mod alert;
mod control;
mod fold;
mod host;
mod page;
mod reading;
mod story;
pub mod view;
mod viewer;

use axum::Router;
use axum::extract::{Extension, OriginalUri, State};
use axum::http::{HeaderMap, header};
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use outboard::Client;

use crate::ending::Ending;
use reading::Readings;
use view::View;

/// A live page that shows what a client and its engine do.
///
/// It shows what needs attention, the workers with what they execute, a stream of tasks,
/// the queue, times by task function, and the last crashes in full.
///
/// **Put it behind the application's own login.** It shows names of task functions and of
/// tenants, stderr of crashed workers, and panic messages with their backtraces. It does
/// not show arguments and results: the library does not keep them. (What a task writes to
/// stderr or panics with may quote them.)
///
/// ```
/// # async fn login(request: axum::extract::Request, next: axum::middleware::Next)
/// # -> axum::response::Response { next.run(request).await }
/// # fn example(client: outboard::Client, app: axum::Router) -> axum::Router {
/// use axum::middleware::from_fn;
/// use outboard_web::Status;
///
/// let status = Status::new(client).controls(true).router();
/// app.nest("/ops/status", status.layer(from_fn(login)))
/// # }
/// ```
///
/// It answers to addresses, and to names that nobody can register: without a dot, or below
/// `localhost`. Other names the application has to give ([`hosts`](Self::hosts)). Otherwise
/// a site whose name its owner has lead to this server could read the page in the browser
/// of whoever visits it (DNS rebinding).
///
/// # Routes
///
/// They are relative to where the page is nested. The page's links are relative too, so a
/// proxy may strip a prefix.
///
/// | route | what it is |
/// |---|---|
/// | `GET` of the place itself | the page; with `Accept: application/json` a [`View`] |
/// | `GET /status.json` | a [`View`], as `outboard status URL --json` prints it |
/// | `GET /events` | server-sent events: `view`, `turn` (bars of the task stream), `crash`, `panic`, `end` |
/// | `GET /story/{task}` | what happened to a task, event by event, as JSON |
/// | `POST /cancel/{task}`, `POST /recycle/{worker}`, `POST /drain` | only with [`controls`](Self::controls) |
///
/// # Cost
///
/// It costs nothing while nobody looks. All viewers share one reading of
/// [events](outboard::admin::Admin::watch), five times a second, which ends with the last
/// viewer. A reading has at most some hundred bars: short runs share one, and the page says
/// what is left out. A slow viewer misses events, and delays nobody.
///
/// `benches/src/bin/status_cost.rs` measures it: about 1 % of the server's CPU time at
/// 365,000 tasks a second. No effect on throughput could be measured.
///
/// # End
///
/// Streams end when `outboard_axum::serve` is told to end. With `axum::serve` and its
/// graceful shutdown they would not, and it waits for them.
#[derive(Clone, Debug)]
pub struct Status {
    client: Client,
    controls: bool,
    hosts: Vec<String>,
}

/// What the handlers share.
#[derive(Clone, Debug)]
struct Shown {
    client: Client,
    controls: bool,
    readings: Readings,
}

impl Status {
    /// A read-only status page of a client.
    pub fn new(client: Client) -> Self {
        Self { client, controls: false, hosts: Vec::new() }
    }

    /// Sets whether the page can cancel a task, replace a worker and drain the client; by
    /// default it cannot.
    ///
    /// Without it there are no such routes. With it, requests from other sites are refused: they
    /// need `POST` and a header (`x-outboard-status: 1`) that no form can send. Browsers that
    /// say by `Sec-Fetch-Site` or `Origin` that a request comes from elsewhere are refused too.
    /// A proxy without TLS must keep the browser's `Host`.
    ///
    /// Your login decides who may press the buttons.
    pub fn controls(self, controls: bool) -> Self {
        Self { controls, ..self }
    }

    /// Sets the names under which the page is served besides addresses and local names:
    /// `ops.example.com`, without a port. A request for another one gets 421.
    ///
    /// A proxy that keeps the browser's `Host` needs the name that browsers use.
    pub fn hosts<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.hosts.extend(names.into_iter().map(Into::into));
        self
    }

    /// Returns the routes, to nest into an application.
    pub fn router<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        let Self { client, controls, hosts } = self;
        let shown = Shown { client, controls, readings: Readings::default() };
        let mut router = Router::new()
            .route("/", get(look))
            .route("/status.json", get(json))
            .route("/events", get(events))
            .route("/story/{task}", get(story::story));
        for (path, kind, text) in page::FILES {
            router = router.route(path, get(move || std::future::ready(page::file(kind, text))));
        }
        if controls {
            let posts = Router::new()
                .route("/cancel/{task}", post(control::cancel))
                .route("/recycle/{worker}", post(control::recycle))
                .route("/drain", post(control::drain))
                .route_layer(from_fn(control::guard));
            router = router.merge(posts);
        }
        router
            .route_layer(from_fn_with_state(host::Names::from(hosts), host::check))
            .route_layer(map_response(async |response| page::bound(response)))
            .with_state(shown)
    }
}

impl Shown {
    fn view(&self) -> View {
        let mut view = View::of(&self.client.admin().snapshot());
        view.controls = self.controls;
        view
    }
}

async fn look(State(shown): State<Shown>, uri: OriginalUri, headers: HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    match accepted.is_some_and(|accept| accept.starts_with("application/json")) {
        true => json(State(shown)).await,
        false => page::page(&uri).into_response(),
    }
}

async fn json(State(shown): State<Shown>) -> Response {
    let text = serde_json::to_string(&shown.view()).expect("views have no maps with odd keys");
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

async fn events(State(shown): State<Shown>, ending: Option<Extension<Ending>>) -> Response {
    let reading = shown.readings.get(&shown.client, shown.controls);
    viewer::response(reading, ending.map(|Extension(ending)| ending))
}
