//! Serves an application of Rocket on connections that are watched: a browser that leaves stops
//! its handler, and with it the task.
//!
//! Rocket 0.5 spawns each handler, and takes no listener. So hyper serves here. It asks Rocket by
//! its [local client](Local), which spawns nothing: a handler is dropped with its connection.

mod problem;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_stream::try_stream;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode, header, request};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use outboard_web::Watched;
use rocket::futures::{Stream, TryStreamExt};
use rocket::http::uri::Host;
use rocket::http::{Cookie, Header, Method};
use rocket::local::asynchronous::{Client as Local, LocalRequest};
use rocket::{Build, Rocket};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

pub use problem::Problem;

/// The most of a request's body: Rocket's local client takes bodies only as a whole.
const BODY_BYTES: usize = 16 << 20;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Serves until `stopped`, then waits for what runs as long as Rocket's `shutdown.grace` says.
///
/// With `half_close`, a client that has closed its sending half is answered.
///
/// # Errors
///
/// Those of Rocket, if the application cannot start.
pub async fn serve(
    rocket: Rocket<Build>,
    listener: TcpListener,
    half_close: bool,
    stopped: impl Future<Output = ()>,
) -> Result<(), rocket::Error> {
    let rocket = Arc::new(Local::untracked(rocket).await?);
    let (graceful, mut connections) = (GracefulShutdown::new(), JoinSet::new());
    let mut stopped = pin!(stopped);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = &mut stopped => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let rocket = rocket.clone();
                let answer = service_fn(move |request| answer(rocket.clone(), peer, request));
                let stream = TokioIo::new(Watched::with_half_close(stream, half_close));
                let mut builder = http1::Builder::new();
                builder.timer(TokioTimer::new()).half_close(half_close);
                connections.spawn(graceful.watch(builder.serve_connection(stream, answer)));
            }
            Err(error) => {
                tracing::warn!(%error, "no connection was accepted");
                sleep(Duration::from_millis(100)).await; // descriptors may become free
            }
        }
    }
    drop(listener);
    let grace = rocket.rocket().config().shutdown.grace;
    rocket.rocket().shutdown().notify(); // for streams that would not end by themselves
    let ended = async {
        graceful.shutdown().await;
        while connections.join_next().await.is_some() {}
    };
    if timeout(Duration::from_secs(grace.into()), ended).await.is_err() {
        tracing::warn!(grace, "connections were cut after the grace");
    }
    connections.shutdown().await;
    // The connections held the others. Fairings see the end.
    if let Some(rocket) = Arc::into_inner(rocket) {
        rocket.terminate().await;
    }
    Ok(())
}

/// What Rocket answers. All of it, its handler and its stream, is dropped with the future or the body.
async fn answer(
    rocket: Arc<Local>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let Ok(method) = head.method.as_str().parse::<Method>() else {
        return Ok(refusal(StatusCode::NOT_IMPLEMENTED));
    };
    // A body without a meaning is not waited for.
    let body = match method.supports_payload() {
        false => Bytes::new(),
        true => match Limited::new(body, BODY_BYTES).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Ok(refusal(StatusCode::PAYLOAD_TOO_LARGE));
            }
            Err(error) => return Err(io::Error::other(error)),
        },
    };
    let mut parts = Box::pin(exchange(rocket, peer, method, head, body));
    let Some(Part::Head(response)) = parts.try_next().await? else {
        unreachable!("a response begins with its head");
    };
    let frames = parts.map_ok(|part| match part {
        Part::Data(bytes) => Frame::data(bytes),
        Part::Head(_) => unreachable!("a response has one head"),
    });
    Ok(response.map(|()| StreamBody::new(frames).boxed_unsync()))
}

/// A part of a response.
enum Part {
    Head(Response<()>),
    Data(Bytes),
}

/// Asks Rocket. The stream owns the application, from which request and response borrow.
fn exchange(
    rocket: Arc<Local>,
    peer: SocketAddr,
    method: Method,
    head: request::Parts,
    body: Bytes,
) -> impl Stream<Item = io::Result<Part>> + Send {
    try_stream! {
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let mut request = rocket.req(method, target).remote(peer).body(body);
        add_headers(&mut request, &head.headers);
        let mut response = request.dispatch().await;

        let mut begun = Response::builder().status(response.status().code);
        for header in response.headers().iter() {
            begun = begun.header(header.name.as_str(), header.value.as_bytes());
        }
        if let Some(bytes) = response.body().preset_size() {
            begun = begun.header(header::CONTENT_LENGTH, bytes);
        }
        yield Part::Head(begun.body(()).map_err(io::Error::other)?);
        let mut chunk = BytesMut::with_capacity(response.body().max_chunk_size());
        while response.read_buf(&mut chunk).await? > 0 {
            yield Part::Data(chunk.split().freeze());
            chunk.reserve(response.body().max_chunk_size());
        }
    }
}

/// What Rocket's own server makes of headers.
fn add_headers(request: &mut LocalRequest<'_>, headers: &HeaderMap) {
    let texts = headers.iter().filter_map(|(name, value)| Some((name, value.to_str().ok()?)));
    for (name, value) in texts {
        request.add_header(Header::new(name.to_string(), value.to_owned()));
        if name == header::HOST
            && let Ok(host) = Host::parse_owned(value.to_owned())
        {
            request.set_host(host);
        }
        if name == header::COOKIE {
            let cookies = value.split(';').map(|cookie| cookie.trim().to_owned());
            let cookies = cookies.filter_map(|cookie| Cookie::parse_encoded(cookie).ok());
            *request = request.clone().cookies(cookies);
        }
    }
}

/// A response without a body, where Rocket is not asked.
fn refusal(status: StatusCode) -> Response<Body> {
    let empty = Full::new(Bytes::new()).map_err(|never| match never {});
    let mut response = Response::new(empty.boxed_unsync());
    *response.status_mut() = status;
    response
}
