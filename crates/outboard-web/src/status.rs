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

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use http::request::Parts;
use http::{Request, Response, StatusCode, Uri, header};
use outboard::Client;
use tower_service::Service;

use crate::answer::{Body, answer, not_here, only_get, only_post};
use crate::ending::Ending;
use control::Action;
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
/// It is a service of tower's, below the path that [`at`](Self::at) says. In axum `router`
/// makes routes of it, with the feature `axum`, which `outboard-axum` has. In actix-web
/// `outboard_actix::mount` serves it.
///
/// # Examples
///
/// Beside any other service, whose login has let the request through:
///
/// ```
/// use http::{Request, Response};
/// use outboard_web::{Body, Status};
/// use tower_service::Service;
///
/// async fn serve<B>(mut status: Status, request: Request<B>) -> Response<Body> {
///     match request.uri().path() {
///         path if path.starts_with("/status") => match status.call(request).await {
///             Ok(response) => response,
///             Err(never) => match never {},
///         },
///         _ => Response::default(), // the application
///     }
/// }
///
/// # fn example(client: outboard::Client) -> Status {
/// Status::new(client).at("/status")
/// # }
/// ```
///
/// # Names
///
/// It answers to addresses, and to names that nobody can register: without a dot, or below
/// `localhost`. Other names the application has to give ([`hosts`](Self::hosts)). Otherwise
/// a site whose name its owner has lead to this server could read the page in the browser
/// of whoever visits it (DNS rebinding).
///
/// # Routes
///
/// They are relative to where the page is. The page's links are relative too, so a
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
/// Streams end when the request's [`Ending`] is set, which `outboard_axum::serve` does. With
/// `axum::serve` and its graceful shutdown they would not, and it waits for them.
///
/// # Panics
///
/// A request for `/events` panics outside a tokio runtime that has its timer enabled.
#[derive(Clone, Debug)]
pub struct Status {
    client: Client,
    controls: bool,
    /// The path that it is at, without a slash at its end.
    at: String,
    hosts: host::Names,
    readings: Readings,
}

impl Status {
    /// A read-only status page of a client.
    pub fn new(client: Client) -> Self {
        let (at, hosts, readings) = Default::default();
        Self { client, controls: false, at, hosts, readings }
    }

    /// Sets the path that the page is at; by default `/`. Requests for other paths get 404.
    ///
    /// It is for servers that hand on the whole path. `router`, for axum, needs none.
    pub fn at(self, path: &str) -> Self {
        Self { at: path.trim_end_matches('/').to_owned(), ..self }
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
        // What others read says whether there are controls.
        Self { controls, readings: Readings::default(), ..self }
    }

    /// Sets the names under which the page is served besides addresses and local names:
    /// `ops.example.com`, without a port. A request for another one gets 421.
    ///
    /// A proxy that keeps the browser's `Host` needs the name that browsers use.
    pub fn hosts<N: Into<String>>(self, names: impl IntoIterator<Item = N>) -> Self {
        let before = self.hosts.iter().cloned();
        let hosts = before.chain(names.into_iter().map(Into::into)).collect();
        Self { hosts, ..self }
    }

    fn view(&self) -> View {
        let mut view = View::of(&self.client.admin().snapshot());
        view.controls = self.controls;
        view
    }

    fn respond(&self, head: &Parts) -> Response<Body> {
        let path = match self.at.as_str() {
            "" => Some(head.uri.path()),
            at => head.uri.path().strip_prefix(at),
        };
        match path {
            Some("" | "/") => only_get(&head.method, || self.look(head)),
            Some(path) if path.starts_with('/') => self.respond_at(path, head),
            _ => not_here(),
        }
    }

    fn respond_at(&self, path: &str, head: &Parts) -> Response<Body> {
        if let Some(file) = page::file(path) {
            return only_get(&head.method, || file);
        }
        if let Some(action) = Action::of(path).filter(|_| self.controls) {
            let act = || control::act(action, &self.client, &head.headers, &head.uri);
            return only_post(&head.method, act);
        }
        match (path, path.strip_prefix("/story/")) {
            ("/status.json", _) => only_get(&head.method, || self.json()),
            ("/events", _) => only_get(&head.method, || {
                let reading = self.readings.get(&self.client, self.controls);
                viewer::response(reading, head.extensions.get::<Ending>().cloned())
            }),
            (_, Some(task)) => only_get(&head.method, || story::story(&self.client, task)),
            _ => not_here(),
        }
    }

    fn look(&self, head: &Parts) -> Response<Body> {
        let accepted = head.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        match accepted.is_some_and(|accept| accept.starts_with("application/json")) {
            true => self.json(),
            false => page::page(asked_for(head)),
        }
    }

    fn json(&self) -> Response<Body> {
        let text = serde_json::to_string(&self.view()).expect("views have no maps with odd keys");
        answer(StatusCode::OK, "application/json", text)
    }
}

/// What the client asked for, before a router took a part of it.
#[cfg(feature = "axum")]
fn asked_for(head: &Parts) -> &Uri {
    head.extensions.get::<axum::extract::OriginalUri>().map_or(&head.uri, |uri| &uri.0)
}

#[cfg(not(feature = "axum"))]
fn asked_for(head: &Parts) -> &Uri {
    &head.uri
}

impl<B> Service<Request<B>> for Status {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, _) = request.into_parts();
        let refusal = host::refuse(&self.hosts, &head.headers, &head.uri);
        ready(Ok(page::bound(refusal.unwrap_or_else(|| self.respond(&head)))))
    }
}
