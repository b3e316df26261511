//! What happens when a client leaves before its response: by default the
//! handler is dropped, and its tasks with it.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::Response;
use tower_layer::Layer;
use tower_service::Service;

use crate::serve::Unfinished;

/// A layer for routes whose handlers finish when the client has left, such as an upload or a
/// payment.
///
/// Without it a browser that leaves cancels: hyper notices, axum drops the handler, and a
/// task whose future is dropped is stopped. Behind a proxy, the proxy has to close its
/// connection.
///
/// The handler runs as a task of its own on the runtime. A panic in it ends the request as
/// it would without the layer. A server that ends waits for it, if it is served by
/// [`serve`](fn@crate::serve).
///
/// # Examples
///
/// ```
/// use axum::{Router, routing::post};
/// use outboard_axum::FinishOnDisconnect;
///
/// async fn store() {}
///
/// let app: Router = Router::new()
///     .route("/store", post(store))
///     .route_layer(FinishOnDisconnect);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct FinishOnDisconnect;

impl<S> Layer<S> for FinishOnDisconnect {
    type Service = FinishOnDisconnectService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        FinishOnDisconnectService { inner }
    }
}

/// The service that [`FinishOnDisconnect`] makes of another one.
#[derive(Clone, Debug)]
pub struct FinishOnDisconnectService<S> {
    inner: S,
}

impl<S> Service<Request> for FinishOnDisconnectService<S>
where
    S: Service<Request, Response = Response>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let unfinished = request.extensions().get::<Unfinished>().cloned();
        let handler = self.inner.call(request);
        // Dropping the handle of a tokio task detaches it.
        let handler = tokio::spawn(async move {
            let response = handler.await;
            drop(unfinished);
            response
        });
        Box::pin(async move {
            match handler.await {
                Ok(response) => response,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The runtime ends, and this future with it.
                    Err(_) => std::future::pending().await,
                },
            }
        })
    }
}
