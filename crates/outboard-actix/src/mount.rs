//! Services of tower's, such as the status page, in an application of actix-web.

use std::convert::Infallible;

use actix_web::{HttpRequest, Scope, web};
use http_body_util::BodyExt;
use outboard_web::Body;
use tower_service::Service;

use crate::offload::head;
use crate::problem::begun;

/// Serves a service of `outboard-web` at a path and below it: `Status`, `Metrics`,
/// [`Health`](outboard_web::Health).
///
/// It gets the whole path of a request, and no body. So a `Status` is told its path by `at`, and
/// `Health` is mounted at each of its paths.
///
/// # Examples
///
/// ```
/// use actix_web::App;
/// use outboard_web::Health;
///
/// # fn example(client: outboard::Client) {
/// let health = Health::new(client);
/// let app = move || {
///     App::new()
///         .service(outboard_actix::mount("/healthz", health.clone()))
///         .service(outboard_actix::mount("/readyz", health.clone()))
/// };
/// let server = outboard_actix::server(app);
/// # }
/// ```
pub fn mount<S>(path: &str, service: S) -> Scope
where
    S: Service<http::Request<()>, Response = http::Response<Body>, Error = Infallible>,
    S: Clone + 'static,
{
    let handler = move |request: HttpRequest| {
        let mut service = service.clone();
        async move {
            let request = http::Request::from_parts(head(&request), ());
            match service.call(request).await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    begun(&head).streaming(body.into_data_stream())
                }
                Err(never) => match never {},
            }
        }
    };
    web::scope(path).default_service(web::to(handler))
}
