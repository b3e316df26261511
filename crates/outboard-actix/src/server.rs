//! A server that drops the handlers of clients that left.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
#[cfg(unix)]
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_http::body::MessageBody;
use actix_http::{Request, Response};
use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::dev::{AppConfig, Extensions};
use actix_web::http::StatusCode;
#[cfg(unix)]
use actix_web::rt;
use actix_web::{HttpServer, ResponseError};
use outboard_web::Gone;

/// As `HttpServer::new`, of a server that drops a handler when its client leaves, whatever that
/// has sent.
///
/// A client that has closed the sending half of its connection counts as gone. It is answered
/// with the status 499, as nginx has it. Watched are connections by TCP and by Unix sockets;
/// [`watch`] is for others, and for a server that uses `HttpServer::on_connect` itself.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use actix_web::App;
///
/// outboard_actix::server(|| App::new()).bind("127.0.0.1:9000")?.run().await
/// # }
/// ```
pub fn server<F, I, S, B>(
    app: F,
) -> HttpServer<impl Fn() -> Watching<S> + Send + Clone + 'static, Watching<S>, Watching<S>, B>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Future: 'static,
    S::Service: 'static,
    S::Error: Into<actix_web::Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    HttpServer::new(move || Watching { app: app().into_factory() }).on_connect(watch_any)
}

fn watch_any(connection: &dyn Any, extensions: &mut Extensions) {
    #[cfg(unix)]
    if let Some(stream) = connection.downcast_ref::<rt::net::TcpStream>() {
        watch(stream, false, extensions);
    } else if let Some(stream) = connection.downcast_ref::<rt::net::UnixStream>() {
        watch(stream, false, extensions);
    }
    #[cfg(not(unix))]
    let _ = (connection, extensions);
}

/// Watches a connection of a [`server`]: to call in its `HttpServer::on_connect`, which replaces
/// what the server would do. With `half_close`, a client that has closed the sending half of its
/// connection is not gone, and is answered.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use actix_web::{App, rt::net::TcpStream};
///
/// let server = outboard_actix::server(|| App::new()).on_connect(|connection, extensions| {
///     if let Some(stream) = connection.downcast_ref::<TcpStream>() {
///         outboard_actix::watch(stream, true, extensions);
///     }
/// });
/// # Ok(()) }
/// ```
#[cfg(unix)]
pub fn watch(stream: &impl AsFd, half_close: bool, extensions: &mut Extensions) {
    match Gone::watch(stream, half_close) {
        Ok(gone) => drop(extensions.insert(Rc::new(gone))),
        Err(error) => {
            tracing::warn!(%error, "a connection is not watched, so its client may leave unnoticed");
        }
    }
}

/// An application whose handlers are dropped when their client leaves. Made by [`server`].
#[derive(Clone, Debug)]
pub struct Watching<S> {
    app: S,
}

/// What [`Watching`] makes of a service.
#[derive(Debug)]
pub struct WatchingService<S> {
    app: S,
}

type LocalFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>>>>;

impl<S> ServiceFactory<Request> for Watching<S>
where
    S: ServiceFactory<Request>,
    S::Future: 'static,
    S::Error: Into<actix_web::Error>,
    <S::Service as Service<Request>>::Future: 'static,
{
    type Response = S::Response;
    type Error = actix_web::Error;
    type Config = S::Config;
    type Service = WatchingService<S::Service>;
    type InitError = S::InitError;
    type Future = LocalFuture<Self::Service, S::InitError>;

    fn new_service(&self, config: S::Config) -> Self::Future {
        let app = self.app.new_service(config);
        Box::pin(async move { Ok(WatchingService { app: app.await? }) })
    }
}

impl<S> Service<Request> for WatchingService<S>
where
    S: Service<Request>,
    S::Error: Into<actix_web::Error>,
    S::Future: 'static,
{
    type Response = S::Response;
    type Error = actix_web::Error;
    type Future = LocalFuture<S::Response, Self::Error>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.app.poll_ready(context).map_err(Into::into)
    }

    fn call(&self, request: Request) -> Self::Future {
        let gone = request.conn_data::<Rc<Gone>>().cloned();
        let handler = self.app.call(request);
        Box::pin(async move {
            let Some(gone) = gone else { return handler.await.map_err(Into::into) };
            let mut handler = pin!(handler);
            let mut gone = pin!(gone.wait());
            // The handler first: one that need not wait answers whoever has said all.
            poll_fn(|context| match handler.as_mut().poll(context) {
                Poll::Ready(answer) => Poll::Ready(answer.map_err(Into::into)),
                Poll::Pending => gone.as_mut().poll(context).map(|()| Err(ClientLeft.into())),
            })
            .await
        })
    }
}

/// A client left before its answer; where only its sending half is closed, it reads this.
#[derive(Debug)]
struct ClientLeft;

impl fmt::Display for ClientLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client left before the answer")
    }
}

impl ResponseError for ClientLeft {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
    }
}
