//! A server that drops the handlers, and the bodies, of clients that left.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
#[cfg(unix)]
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_http::body::{BodySize, MessageBody};
use actix_http::{Request, Response};
use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::dev::{AppConfig, Extensions};
use actix_web::http::StatusCode;
#[cfg(unix)]
use actix_web::rt;
use actix_web::web::Bytes;
use actix_web::{HttpServer, ResponseError};
use outboard_web::Gone;
use pin_project_lite::pin_project;

/// What actix-web makes of an application that is watched.
type Server<F, S, B> = HttpServer<F, Watching<S, B>, Watching<S, B>, WatchedBody<B>>;

/// As `HttpServer::new`, of a server that drops a handler when its client leaves, whatever that
/// has sent. A body that has nothing to say just then is dropped likewise, so a stream ends.
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
) -> Server<impl Fn() -> Watching<S, B> + Send + Clone + 'static, S, B>
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
    HttpServer::new(move || Watching { app: app().into_factory(), body: PhantomData })
        .on_connect(watch_any)
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
pub struct Watching<S, B> {
    app: S,
    body: PhantomData<fn() -> B>,
}

/// What [`Watching`] makes of a service.
#[derive(Debug)]
pub struct WatchingService<S, B> {
    app: S,
    body: PhantomData<fn() -> B>,
}

type LocalFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>>>>;

impl<S, B> ServiceFactory<Request> for Watching<S, B>
where
    S: ServiceFactory<Request>,
    S::Future: 'static,
    S::Error: Into<actix_web::Error>,
    S::Response: Into<Response<B>>,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = Response<WatchedBody<B>>;
    type Error = actix_web::Error;
    type Config = S::Config;
    type Service = WatchingService<S::Service, B>;
    type InitError = S::InitError;
    type Future = LocalFuture<Self::Service, S::InitError>;

    fn new_service(&self, config: S::Config) -> Self::Future {
        let app = self.app.new_service(config);
        Box::pin(async move { Ok(WatchingService { app: app.await?, body: PhantomData }) })
    }
}

impl<S, B> Service<Request> for WatchingService<S, B>
where
    S: Service<Request>,
    S::Error: Into<actix_web::Error>,
    S::Response: Into<Response<B>>,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = Response<WatchedBody<B>>;
    type Error = actix_web::Error;
    type Future = LocalFuture<Self::Response, Self::Error>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.app.poll_ready(context).map_err(Into::into)
    }

    fn call(&self, request: Request) -> Self::Future {
        let gone = request.conn_data::<Rc<Gone>>().cloned();
        let handler = self.app.call(request);
        Box::pin(async move {
            let answer = match &gone {
                None => handler.await,
                Some(gone) => {
                    let mut handler = pin!(handler);
                    let mut gone = pin!(gone.wait());
                    // The handler first: one that need not wait answers whoever has said all.
                    let answer = poll_fn(|context| match handler.as_mut().poll(context) {
                        Poll::Ready(answer) => Poll::Ready(Some(answer)),
                        Poll::Pending => gone.as_mut().poll(context).map(|()| None),
                    });
                    answer.await.ok_or(ClientLeft)?
                }
            };
            let answer: Response<B> = answer.map_err(Into::into)?.into();
            Ok(answer.map_body(|_, body| WatchedBody { body, gone, wait: None }))
        })
    }
}

pin_project! {
    /// The body of an answer, which ends with an error when its client is gone and it has nothing to
    /// say. Made by [`server`].
    pub struct WatchedBody<B> {
        #[pin]
        body: B,
        gone: Option<Rc<Gone>>,
        // From the first time on that there was nothing to say.
        wait: Option<Pin<Box<dyn Future<Output = ()>>>>,
    }
}

impl<B: fmt::Debug> fmt::Debug for WatchedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedBody").field("body", &self.body).finish_non_exhaustive()
    }
}

impl<B: MessageBody> MessageBody for WatchedBody<B> {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.project();
        if let Poll::Ready(bytes) = this.body.poll_next(context) {
            return Poll::Ready(bytes.map(|bytes| bytes.map_err(Into::into)));
        }
        let Some(gone) = this.gone else { return Poll::Pending };
        let wait = this.wait.get_or_insert_with(|| {
            let gone = gone.clone();
            Box::pin(async move { gone.wait().await })
        });
        wait.as_mut().poll(context).map(|()| Some(Err(ClientLeft.into())))
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        let Self { body, gone, wait } = self;
        body.try_into_bytes().map_err(|body| Self { body, gone, wait })
    }
}

/// A client left before its answer; where only its sending half is closed, it reads this.
#[derive(Debug)]
struct ClientLeft;

impl fmt::Display for ClientLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client left before the end of the answer")
    }
}

impl std::error::Error for ClientLeft {}

impl ResponseError for ClientLeft {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
    }
}
