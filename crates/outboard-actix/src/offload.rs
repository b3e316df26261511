//! Tenants, timeouts and times of requests, as a middleware.

use std::fmt;
use std::future::{Future, Ready, ready};
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_http::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse, ResponseError};
use http::request::Parts;
use outboard_web::Offload;
use outboard_web::tenant::Peer;

use crate::problem::{Problem, converted};

/// A middleware that gives the handlers below it [`Compute`], with the request's tenant and
/// timeout by the rules of an [`Offload`]. It adds `Server-Timing` to responses.
///
/// Rules see the request's method, URI and headers, and its [`Peer`]. What of an error clients
/// are told, and by which status, says the `Offload` as well.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use actix_web::{App, web};
/// use outboard_actix::{Compute, Offload, Problem, offload, tenant};
///
/// async fn page(compute: Compute, n: web::Path<u64>) -> Result<String, Problem> {
///     Ok(compute.submit(|n: u64| n * n, n.into_inner()).await?.to_string())
/// }
///
/// # fn example(client: outboard::Client) {
/// let rules = Offload::new(client).tenant(tenant::peer).timeout(Duration::from_secs(10));
/// let app = move || {
///     App::new().wrap(offload(rules.clone())).route("/square/{n}", web::get().to(page))
/// };
/// let server = outboard_actix::server(app);
/// # }
/// ```
pub fn offload(rules: Offload) -> Offloading {
    Offloading { rules: Rc::new(rules) }
}

/// The middleware of [`offload`].
#[derive(Clone, Debug)]
pub struct Offloading {
    rules: Rc<Offload>,
}

/// What [`Offloading`] makes of a service.
#[derive(Clone, Debug)]
pub struct OffloadingService<S> {
    rules: Rc<Offload>,
    inner: S,
}

impl<S, B> Transform<S, ServiceRequest> for Offloading
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>>,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = S::Error;
    type InitError = ();
    type Transform = OffloadingService<S>;
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(OffloadingService { rules: self.rules.clone(), inner }))
    }
}

type LocalFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>>>>;

impl<S, B> Service<ServiceRequest> for OffloadingService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>>,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = S::Error;
    type Future = LocalFuture<Self::Response, S::Error>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let rules = self.rules.clone();
        let compute = rules.compute(&head(request.request()));
        request.extensions_mut().insert(Compute(compute.clone()));
        let response = self.inner.call(request);
        Box::pin(async move {
            let response = response.await?;
            let problem = response.response().error().and_then(|error| error.as_error::<Problem>());
            let mut response = match problem.and_then(|problem| rules.told(problem.problem())) {
                Some(told) => response.into_response(converted(told)).map_into_right_body(),
                None => response.map_into_left_body(),
            };
            let timing = rules.timing(&compute);
            let timing = timing.and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok());
            if let Some(timing) = timing {
                response.headers_mut().append(HeaderName::from_static("server-timing"), timing);
            }
            Ok(response)
        })
    }
}

/// The head of a request, as rules take it: actix-web has an older release of the crate `http`.
pub(crate) fn head(request: &HttpRequest) -> Parts {
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.method = request.method().as_str().parse().unwrap_or_default();
    head.uri = request.uri().to_string().parse().unwrap_or_default();
    for (name, value) in request.headers() {
        let name = http::HeaderName::from_bytes(name.as_str().as_bytes());
        let value = http::HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            head.headers.append(name, value);
        }
    }
    if let Some(address) = request.peer_addr() {
        head.extensions.insert(Peer(address));
    }
    head
}

/// The client of a request, with its tenant and timeout: an extractor, on routes below the
/// middleware of [`offload`]. Elsewhere the answer is 500, and the log says what is missing.
///
/// It can do what [`outboard_web::Compute`] can.
#[derive(Clone, Debug)]
pub struct Compute(outboard_web::Compute);

impl Deref for Compute {
    type Target = outboard_web::Compute;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl FromRequest for Compute {
    type Error = NoOffload;
    type Future = Ready<Result<Self, NoOffload>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(request.extensions().get::<Self>().cloned().ok_or(NoOffload))
    }
}

/// The rejection of a handler that takes [`Compute`] on a route without the middleware of
/// [`offload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoOffload;

impl fmt::Display for NoOffload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the route has no middleware `offload`")
    }
}

impl ResponseError for NoOffload {
    fn error_response(&self) -> HttpResponse<BoxBody> {
        tracing::error!(
            "a handler takes `Compute`, but its route has no middleware `offload`: \
             add `.wrap(outboard_actix::offload(Offload::new(client)))` to the application"
        );
        converted(outboard_web::NoOffload::response())
    }
}
