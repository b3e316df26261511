//! Serves until a signal, then finishes what runs, and says what it cut.

mod connections;

pub use connections::{Listen, Unwatched};

use std::fmt;
use std::future::IntoFuture;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use futures_util::future::join_all;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto::Builder;
use outboard::Client;
use outboard_web::Ending;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};

/// How long responses may take that are sent because their tasks were cut.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long the client's end may take. Worker processes end in less, as far as the system
/// can end them; a task on a thread of `inline://` may go on for ever.
const END: Duration = Duration::from_secs(10);

/// Serves an application until SIGTERM or SIGINT (Ctrl-C), then ends gracefully.
///
/// On the first signal it takes no more connections, and `/readyz` of
/// [`Health`](crate::Health) fails. Running requests may finish, for the
/// [grace](Serve::grace). So may handlers that go on without a browser
/// ([`FinishOnDisconnect`](crate::FinishOnDisconnect)), and
/// [detached](outboard::TaskFuture::detach) tasks.
///
/// What runs after the grace is cut: the client is shut down, its tasks are killed, and
/// their requests get 503. A second signal cuts at once. In the end no worker is left,
/// unless the system cannot end one: [`Cut::workers`] says how many are, and the log which.
///
/// A client that leaves is noticed, whatever it has sent: connections are
/// [`Watched`](crate::Watched), and the handler is dropped.
///
/// A connection is closed if it does not send the head of a request in time
/// ([`header_timeout`](Serve::header_timeout)). TCP keep-alive closes one whose peer vanished.
///
/// The listener is one of TCP or of Unix sockets, or, by [`Unwatched`], any of axum's: TLS, for
/// example. Handlers see the peer's address, where there is one, as with
/// `into_make_service_with_connect_info::<SocketAddr>()`.
///
/// # Errors
///
/// Awaiting gives the system's error if signals cannot be listened for.
///
/// # Cancel safety
///
/// Dropping the future stops accepting connections; those that are open end after the
/// request that they have, or with the runtime.
///
/// # Examples
///
/// ```no_run
/// # async fn example(client: outboard::Client, app: axum::Router) -> std::io::Result<()> {
/// use std::time::Duration;
///
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:9000").await?;
/// let cut = outboard_axum::serve(listener, app)
///     .client(client)
///     .grace(Duration::from_secs(20))
///     .await?;
/// if !cut.is_nothing() {
///     eprintln!("{cut}");
/// }
/// # Ok(()) }
/// ```
pub fn serve<L: Listen>(listener: L, app: Router) -> Serve<L> {
    Serve {
        listener,
        app,
        clients: Vec::new(),
        grace: Duration::from_secs(10),
        notice: Duration::ZERO,
        connections: connections::Settings {
            header_timeout: Duration::from_secs(30),
            half_close: false,
            hyper: None,
        },
        stop: None,
        cut: None,
    }
}

type Signal = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A server that is set up; await it to serve. Made by [`serve`](fn@serve).
#[must_use = "await it to serve"]
pub struct Serve<L = TcpListener> {
    listener: L,
    app: Router,
    clients: Vec<Client>,
    grace: Duration,
    notice: Duration,
    connections: connections::Settings,
    stop: Option<Signal>,
    cut: Option<Signal>,
}

/// What did not finish in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cut {
    /// Requests that had no response yet, and those whose handlers went on
    /// without a browser.
    pub requests: usize,
    /// Tasks that waited or ran.
    pub tasks: usize,
    /// Tasks that ended because their worker was lost, after the server was told to end:
    /// they did finish, but not well.
    pub lost: usize,
    /// Workers that could not be ended: processes in an uninterruptible system call, or of
    /// another user, or threads of `inline://` whose task goes on.
    pub workers: usize,
}

impl<L: Listen> Serve<L> {
    /// Adds a client that the application submits to; it is shut down in the end. An
    /// application with several clients adds each of them.
    pub fn client(mut self, client: Client) -> Self {
        self.clients.push(client);
        self
    }

    /// Sets how long requests may go on after the first signal; by default ten seconds.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets how long connections are still accepted after the first signal; by default not at
    /// all.
    ///
    /// During that time `/readyz` fails already, so that a load balancer notices. The grace
    /// begins after it.
    pub fn notice(mut self, notice: Duration) -> Self {
        self.notice = notice;
        self
    }

    /// Sets how long a client may take to send the head of a request, and how long its
    /// connection may be idle; by default 30 seconds. It is for HTTP/1.
    pub fn header_timeout(mut self, timeout: Duration) -> Self {
        self.connections.header_timeout = timeout;
        self
    }

    /// Whether a client that has closed the sending half of its connection, as `nc` does, gets
    /// its answer; by default it counts as gone. With this setting an HTTP/1 client that leaves in
    /// an orderly way is not noticed before something is sent to it: only a reset is.
    pub fn half_close(mut self, answered: bool) -> Self {
        self.connections.half_close = answered;
        self
    }

    /// Sets what hyper has settings for, on each connection: sizes of buffers and heads, or what
    /// HTTP/2 has. Timeouts of heads and half-closed connections are set already.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(listener: tokio::net::TcpListener, app: axum::Router)
    /// # -> std::io::Result<()> {
    /// outboard_axum::serve(listener, app)
    ///     .hyper(|builder| {
    ///         builder.http1().max_buf_size(64 << 10);
    ///     })
    ///     .await?;
    /// # Ok(()) }
    /// ```
    pub fn hyper(
        mut self,
        set: impl Fn(&mut Builder<TokioExecutor>) + Send + Sync + 'static,
    ) -> Self {
        self.connections.hyper = Some(Arc::new(set));
        self
    }

    /// Ends gracefully when this future completes, instead of on a signal.
    pub fn stop_on(mut self, stop: impl Future<Output = ()> + Send + 'static) -> Self {
        self.stop = Some(Box::pin(stop));
        self
    }

    /// Cuts what runs when this future completes, instead of on a second signal.
    ///
    /// It is polled after the server was told to end.
    pub fn cut_on(mut self, cut: impl Future<Output = ()> + Send + 'static) -> Self {
        self.cut = Some(Box::pin(cut));
        self
    }

    async fn run(self) -> io::Result<Cut> {
        let Self { listener, app, clients, grace, notice, connections, stop, cut } = self;
        let (stop, cut) = signals(stop, cut)?;
        let (ending, requests) = (Ending::default(), InFlight::default());
        let app =
            app.layer(Extension(ending.clone())).layer(from_fn_with_state(requests.clone(), count));
        let (close, closed) = watch::channel(false);
        let connections = connections::serve(listener, app, connections, closed);
        let mut finished = std::pin::pin!(finish(connections, requests.clone(), &clients));
        let lost_before = OnceLock::new();
        let patience = async {
            stop.await;
            let _ = lost_before.set(lost(&clients));
            ending.set();
            let graceful = async {
                tokio::time::sleep(notice).await;
                let _ = close.send(true);
                tokio::time::sleep(grace).await;
            };
            tokio::select! {
                () = graceful => {}
                () = cut => {}
            }
        };
        let (cut, left) = tokio::select! {
            () = &mut finished => (Cut::default(), None),
            () = patience => {
                let _ = close.send(true);
                let (requests, tasks) = (requests.count(), tasks(&clients));
                let left = end(&clients).await;
                // Those that were cut are told so.
                let _ = tokio::time::timeout(LAST_WORDS, finished).await;
                (Cut { requests, tasks, ..Cut::default() }, Some(left))
            }
        };
        let lost = lost_before.get().map_or(0, |before| lost(&clients) - before) as usize;
        let workers = match left {
            Some(left) => left,
            None => end(&clients).await,
        };
        Ok(Cut { lost, workers, ..cut })
    }
}

/// Serves to the end of all connections, and until nothing that was begun is left.
async fn finish(connections: impl Future<Output = ()>, requests: InFlight, clients: &[Client]) {
    connections.await;
    requests.none().await;
    join_all(clients.iter().map(Client::drain)).await;
}

/// Ends the clients; gives how many of their workers could not be ended.
async fn end(clients: &[Client]) -> usize {
    let end = async |client: &Client| {
        let ended = tokio::time::timeout(END, client.shutdown()).await.is_ok();
        let left = client.admin().snapshot().per_worker.len();
        left.max(usize::from(!ended))
    };
    join_all(clients.iter().map(end)).await.into_iter().sum()
}

impl<L: Listen> IntoFuture for Serve<L> {
    type Output = io::Result<Cut>;
    type IntoFuture = Pin<Box<dyn Future<Output = io::Result<Cut>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<L: fmt::Debug> fmt::Debug for Serve<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("listener", &self.listener)
            .field("clients", &self.clients)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

impl Cut {
    /// Whether everything finished in time, and no task was lost with its worker.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_nothing() {
            return f.write_str("everything finished in time");
        }
        let counted = [(self.requests, "request"), (self.tasks, "task")];
        let counted = counted.into_iter().filter(|(count, _)| *count > 0);
        let cut: Vec<_> = counted.map(|(count, what)| plural(count, what)).collect();
        let mut said = Vec::new();
        if !cut.is_empty() {
            let were = if self.requests + self.tasks == 1 { "was" } else { "were" };
            said.push(format!("{} did not finish in time, and {were} cut", cut.join(" and ")));
        }
        if self.lost > 0 {
            let how = match self.lost {
                1 => "was lost with its worker",
                _ => "were lost with their workers",
            };
            said.push(format!("{} {how}", plural(self.lost, "task")));
        }
        if self.workers > 0 {
            said.push(format!("{} could not be ended", plural(self.workers, "worker")));
        }
        f.write_str(&said.join("; "))
    }
}

fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// What ends the server in order, and what cuts it: the first and the second
/// signal, where nothing else was asked for.
fn signals(stop: Option<Signal>, cut: Option<Signal>) -> io::Result<(Signal, Signal)> {
    match (stop, cut) {
        (Some(stop), Some(cut)) => Ok((stop, cut)),
        (Some(stop), None) => Ok((stop, Box::pin(std::future::pending()))),
        (None, cut) => {
            let signals = Arc::new(Mutex::new(Signals::new()?));
            let first = Box::pin(next(signals.clone()));
            Ok((first, cut.unwrap_or_else(|| Box::pin(next(signals)))))
        }
    }
}

async fn next(signals: Arc<Mutex<Signals>>) {
    signals.lock().await.next().await;
}

/// The signals that ask a server to end.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    #[expect(clippy::unnecessary_wraps, reason = "as where there are signals")]
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn tasks(clients: &[Client]) -> usize {
    let now = clients.iter().map(|client| client.admin().snapshot());
    now.map(|now| now.queued + now.running).sum()
}

/// How many tasks were lost with their worker so far.
fn lost(clients: &[Client]) -> u64 {
    let now = clients.iter().map(|client| client.admin().snapshot());
    now.flat_map(|now| now.per_function).map(|row| row.figures.lost).sum()
}

/// How many requests are not finished.
#[derive(Clone, Debug)]
struct InFlight(Arc<watch::Sender<usize>>);

impl Default for InFlight {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl InFlight {
    fn count(&self) -> usize {
        *self.0.borrow()
    }

    /// Waits until all are finished.
    async fn none(&self) {
        // An error cannot be: the sender is here.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// A request that is not finished; in its extensions, for whoever goes on with
/// it when its client has left.
#[derive(Clone, Debug)]
struct Unfinished {
    _counted: Arc<Counted>,
}

/// Counts one request until all that is done for it has ended.
#[derive(Debug)]
struct Counted(InFlight);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

async fn count(State(requests): State<InFlight>, mut request: Request, next: Next) -> Response {
    requests.0.send_modify(|count| *count += 1);
    let unfinished = Unfinished { _counted: Arc::new(Counted(requests)) };
    request.extensions_mut().insert(unfinished.clone());
    let response = next.run(request).await;
    drop(unfinished);
    response
}

#[cfg(test)]
mod tests {
    use super::Cut;

    #[test]
    fn everything_finished_only_if_nothing_is_left() {
        let cut = |requests, tasks, workers| {
            Cut { requests, tasks, workers, ..Cut::default() }.to_string()
        };
        assert_eq!(cut(0, 0, 0), "everything finished in time");
        assert_eq!(cut(0, 0, 1), "1 worker could not be ended");
        assert_eq!(cut(1, 0, 0), "1 request did not finish in time, and was cut");
        assert_eq!(
            cut(1, 2, 2),
            "1 request and 2 tasks did not finish in time, and were cut; \
             2 workers could not be ended"
        );
    }
}
