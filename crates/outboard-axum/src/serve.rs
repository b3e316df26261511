//! Serves until a signal, then finishes what runs, and says what it cut.

use std::fmt;
use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use outboard::Client;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};

/// How long responses may take that are sent because their tasks were cut.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves an application until SIGTERM or SIGINT (Ctrl-C), then ends gracefully.
///
/// On the first signal it takes no more connections, and `/readyz` of
/// [`Health`](crate::Health) fails. Running requests may finish, for the
/// [grace](Serve::grace). So may handlers that go on without a browser
/// ([`FinishOnDisconnect`](crate::FinishOnDisconnect)), and
/// [detached](outboard::TaskFuture::detach) tasks.
///
/// What runs after the grace is cut: the client is shut down, its tasks are killed, and
/// their requests get 503. A second signal cuts at once. In the end no worker is left.
///
/// Handlers see the peer's address, as with
/// `into_make_service_with_connect_info::<SocketAddr>()`.
///
/// # Errors
///
/// Awaiting gives the system's error if signals cannot be listened for.
///
/// # Cancel safety
///
/// Dropping the future stops accepting connections; those that are open end with
/// the runtime.
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
pub fn serve(listener: TcpListener, app: Router) -> Serve {
    Serve {
        listener,
        app,
        client: None,
        grace: Duration::from_secs(10),
        notice: Duration::ZERO,
        stop: None,
        cut: None,
    }
}

type Signal = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A server that is set up; await it to serve. Made by [`serve`](fn@serve).
#[must_use = "await it to serve"]
pub struct Serve {
    listener: TcpListener,
    app: Router,
    client: Option<Client>,
    grace: Duration,
    notice: Duration,
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
}

impl Serve {
    /// Sets the client that the application submits to; it is shut down in the end.
    pub fn client(mut self, client: Client) -> Self {
        self.client = Some(client);
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
        let Self { listener, app, client, grace, notice, stop, cut } = self;
        let (stop, cut) = signals(stop, cut)?;
        let (draining, requests) = (Draining::default(), InFlight::default());
        let app = app
            .layer(Extension(draining.clone()))
            .layer(from_fn_with_state(requests.clone(), count));
        let (close, closed) = watch::channel(false);
        let mut finished =
            std::pin::pin!(finish(listener, app, closed, requests.clone(), client.clone()));
        let patience = async {
            stop.await;
            draining.set();
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
        let outcome = tokio::select! {
            ended = &mut finished => ended.map(|()| Cut::default()),
            () = patience => {
                let _ = close.send(true);
                let cut = Cut { requests: requests.count(), tasks: tasks(client.as_ref()) };
                if let Some(client) = &client {
                    client.shutdown().await;
                }
                // Those that were cut are told so.
                let _ = tokio::time::timeout(LAST_WORDS, finished).await;
                Ok(cut)
            }
        };
        if let Some(client) = client {
            client.shutdown().await;
        }
        outcome
    }
}

/// Serves until it is `closed`, and until nothing that was begun is left.
async fn finish(
    listener: TcpListener,
    app: Router,
    mut closed: watch::Receiver<bool>,
    requests: InFlight,
    client: Option<Client>,
) -> io::Result<()> {
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let closing = async move {
        // An error means that nobody is left to say so.
        let _ = closed.wait_for(|closed| *closed).await;
    };
    axum::serve(listener, app).with_graceful_shutdown(closing).await?;
    requests.none().await;
    if let Some(client) = client {
        client.drain().await;
    }
    Ok(())
}

impl IntoFuture for Serve {
    type Output = io::Result<Cut>;
    type IntoFuture = Pin<Box<dyn Future<Output = io::Result<Cut>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("listener", &self.listener)
            .field("client", &self.client)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

impl Cut {
    /// Whether everything finished in time.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let requests = format!("{} request{}", self.requests, plural(self.requests));
        let tasks = format!("{} task{}", self.tasks, plural(self.tasks));
        let what = match (self.requests, self.tasks) {
            (0, 0) => return f.write_str("everything finished in time"),
            (_, 0) => requests,
            (0, _) => tasks,
            _ => format!("{requests} and {tasks}"),
        };
        write!(
            f,
            "{what} did not finish in time, and {} cut",
            match self.requests + self.tasks {
                1 => "was",
                _ => "were",
            }
        )
    }
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

fn tasks(client: Option<&Client>) -> usize {
    let now = client.map(|client| client.admin().snapshot());
    now.map_or(0, |now| now.queued + now.running)
}

/// Whether the server has been told to end; in the extensions of requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draining(Arc<watch::Sender<bool>>);

impl Draining {
    fn set(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is told so: for responses that would not end by themselves.
    pub(crate) async fn wait(&self) {
        // An error cannot be: the sender is here.
        let _ = self.0.subscribe().wait_for(|set| *set).await;
    }
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
pub(crate) struct Unfinished {
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
