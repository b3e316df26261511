//! The layer: finds the tenant and the timeout of each request, and finishes
//! its response.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{Either, Full};
use outboard::{Client, Error};
use tower_layer::Layer;
use tower_service::Service;

use crate::compute::{Compute, LateTiming};
use crate::grpc;
use crate::problem::{Exposure, Problem};
use crate::tenant::cut;

const SERVER_TIMING: &str = "server-timing";

/// A response of the service below, or one of ours.
type Answer<B> = Response<Either<B, Full<Bytes>>>;

type Rule = Arc<dyn Fn(&Parts) -> Option<String> + Send + Sync>;

type Statuses = Arc<dyn Fn(&Error) -> Option<StatusCode> + Send + Sync>;

/// A layer that gives the handlers below it [`Compute`]: a client with the
/// request's tenant and timeout.
///
/// It is a layer of tower's, around any service of HTTP requests. The body of a response is
/// either the service's own, or the text of a [`Problem`].
///
/// # Examples
///
/// ```
/// # fn example(client: outboard::Client) -> outboard_web::Offload {
/// use std::time::Duration;
/// use outboard_web::{Offload, tenant};
///
/// Offload::new(client)
///     .tenant(tenant::header("x-api-key"))
///     .tenant(tenant::forwarded_for(1)) // for requests without a key
///     .timeout(Duration::from_secs(10))
/// # }
/// ```
#[derive(Clone)]
pub struct Offload {
    client: Client,
    tenants: Vec<Rule>,
    timeout: Option<Duration>,
    timeout_header: Option<HeaderName>,
    grpc_timeout: bool,
    statuses: Option<Statuses>,
    exposure: Exposure,
    server_timing: bool,
}

impl Offload {
    /// A layer with the client's own options: no tenant, and its own timeout.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            tenants: Vec::new(),
            timeout: None,
            timeout_header: None,
            grpc_timeout: false,
            statuses: None,
            exposure: Exposure::default(),
            server_timing: true,
        }
    }

    /// Adds a rule that finds the tenant of a request.
    ///
    /// Rules are tried in the order in which they were added, until one finds a name. See
    /// [`tenant`](crate::tenant).
    pub fn tenant(
        mut self,
        rule: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.tenants.push(Arc::new(rule));
        self
    }

    /// Sets the timeout of each task of a request, from its submit on.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Lets clients ask for a shorter timeout by a header, in whole milliseconds.
    ///
    /// They do not get more than [`timeout`](Self::timeout).
    ///
    /// # Panics
    ///
    /// If it is not the name of a header.
    pub fn timeout_header(mut self, name: &str) -> Self {
        self.timeout_header = Some(name.parse().expect("the name of a header"));
        self
    }

    /// Has the deadline of a gRPC call be that of its tasks, by its header `grpc-timeout`.
    ///
    /// Calls do not get more than [`timeout`](Self::timeout).
    pub fn grpc_timeout(mut self) -> Self {
        self.grpc_timeout = true;
        self
    }

    /// Sets the status of errors, where the application knows better whose fault they are;
    /// `None` leaves the one of [`Problem`].
    ///
    /// # Examples
    ///
    /// A file that needs too much memory or time when it is unpacked is the client's fault:
    ///
    /// ```
    /// # fn example(client: outboard::Client) -> outboard_web::Offload {
    /// use http::StatusCode;
    /// use outboard::ErrorKind;
    /// use outboard_web::Offload;
    ///
    /// Offload::new(client).status(|error| match error.kind() {
    ///     ErrorKind::OutOfMemory => Some(StatusCode::PAYLOAD_TOO_LARGE),
    ///     ErrorKind::TimedOut => Some(StatusCode::UNPROCESSABLE_ENTITY),
    ///     _ => None,
    /// })
    /// # }
    /// ```
    pub fn status(
        mut self,
        status: impl Fn(&Error) -> Option<StatusCode> + Send + Sync + 'static,
    ) -> Self {
        self.statuses = Some(Arc::new(status));
        self
    }

    /// Sets how much of an error clients are told; by default only its kind.
    pub fn exposure(mut self, exposure: Exposure) -> Self {
        self.exposure = exposure;
        self
    }

    /// Sets whether responses have a `Server-Timing` header; by default yes.
    ///
    /// It says how long the tasks of the request waited and ran, in milliseconds, and on which
    /// workers. Browsers show it in their developer tools. A response that is a stream has it after
    /// its items.
    pub fn server_timing(mut self, shown: bool) -> Self {
        self.server_timing = shown;
        self
    }

    /// The client for one request, of which this is the head: for frameworks that take no layers
    /// of tower's. Their adapter gives it to the handler, asks [`told`](Self::told) where that has
    /// failed, and adds [`timing`](Self::timing) to the response.
    pub fn compute(&self, request: &Parts) -> Compute {
        let mut client = self.client.clone();
        if let Some(name) = self.tenants.iter().find_map(|rule| rule(request)) {
            client = client.tenant(cut(&name));
        }
        if let Some(timeout) = self.timeout_of(request) {
            client = client.timeout(timeout);
        }
        Compute::new(client)
    }

    fn timeout_of(&self, request: &Parts) -> Option<Duration> {
        let asked = self.timeout_header.as_ref().and_then(|name| request.headers.get(name));
        let asked = asked.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let asked = asked.map(Duration::from_millis);
        let of_call = self.grpc_timeout.then(|| grpc::timeout(&request.headers)).flatten();
        asked.into_iter().chain(of_call).chain(self.timeout).min()
    }

    /// What a client is told of a problem, if that is not what its handler answers: for adapters
    /// as [`compute`](Self::compute) is.
    pub fn told<B: From<String>>(&self, problem: &Problem) -> Option<Response<B>> {
        let status = self.statuses.as_ref().and_then(|status| status(problem.error()));
        match (status, self.exposure) {
            (Some(status), exposure) => {
                Some(problem.clone().with_status(status).response(exposure))
            }
            (None, Exposure::Full) => Some(problem.response(self.exposure)),
            (None, Exposure::Kind) => None,
        }
    }

    /// The value of `Server-Timing` for a response, if there is to be one: for adapters as
    /// [`compute`](Self::compute) is.
    pub fn timing(&self, compute: &Compute) -> Option<HeaderValue> {
        compute.server_timing().filter(|_| self.server_timing)
    }

    fn finish<B>(&self, compute: &Compute, mut response: Response<B>) -> Answer<B> {
        let told = response.extensions().get().and_then(|problem| self.told(problem));
        let mut response = match told {
            None => response.map(Either::Left),
            Some(told) => {
                response.extensions_mut().remove::<Problem>();
                let (told, body) = told.into_parts();
                let mut response = response.map(|_| Either::Right(body));
                *response.status_mut() = told.status;
                response.headers_mut().remove(header::CONTENT_LENGTH);
                response.headers_mut().extend(told.headers);
                response
            }
        };
        if let Some(header) = self.timing(compute) {
            response.headers_mut().append(SERVER_TIMING, header);
        }
        let late = response.extensions().get::<LateTiming>().filter(|_| self.server_timing);
        if late.is_some_and(LateTiming::allow) {
            let name = HeaderValue::from_static(SERVER_TIMING);
            response.headers_mut().append(header::TRAILER, name);
        }
        response
    }
}

impl fmt::Debug for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offload")
            .field("client", &self.client)
            .field("tenant_rules", &self.tenants.len())
            .field("timeout", &self.timeout)
            .field("exposure", &self.exposure)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for Offload {
    type Service = OffloadService<S>;

    fn layer(&self, inner: S) -> OffloadService<S> {
        OffloadService { offload: Arc::new(self.clone()), inner }
    }
}

/// The service that [`Offload`] makes of another one.
#[derive(Clone, Debug)]
pub struct OffloadService<S> {
    offload: Arc<Offload>,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for OffloadService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Answer<R>;
    type Error = S::Error;
    type Future = OffloadFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let compute = self.offload.compute(&parts);
        parts.extensions.insert(compute.clone());
        let inner = self.inner.call(Request::from_parts(parts, body));
        OffloadFuture { offload: self.offload.clone(), compute, inner: Box::pin(inner) }
    }
}

/// The response of an [`OffloadService`].
#[derive(Debug)]
pub struct OffloadFuture<F> {
    offload: Arc<Offload>,
    compute: Compute,
    // Boxed, so that no unsafe code has to project a pin.
    inner: Pin<Box<F>>,
}

impl<F, B, E> Future for OffloadFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Answer<B>, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(self.inner.as_mut().poll(context))?;
        Poll::Ready(Ok(self.offload.finish(&self.compute, response)))
    }
}
