//! What happens when a client leaves before its response: by default the
//! handler is dropped, and its tasks with it.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::Request;
use tower_layer::Layer;
use tower_service::Service;

/// A layer for routes whose handlers finish when the client has left, such as an upload or a
/// payment.
///
/// Without it a browser that leaves cancels: the server drops the handler, and a task whose
/// future is dropped is stopped. If its connection is [`Watched`](crate::Watched), that holds
/// whatever the browser sent. Behind a proxy, the proxy has to close its connection.
///
/// The handler runs as a task of its own on the runtime. A panic in it ends the request as
/// it would without the layer. The extensions of the request live as long as the handler, so a
/// server that ends waits for it, if it is served by `outboard_axum::serve`.
///
/// # Examples
///
/// In axum it is a `route_layer`. Of any service:
///
/// ```
/// # fn example<S>(store: S) {
/// use outboard_web::FinishOnDisconnect;
/// use tower_layer::Layer;
///
/// let store = FinishOnDisconnect.layer(store);
/// # }
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

impl<S, B> Service<Request<B>> for FinishOnDisconnectService<S>
where
    S: Service<Request<B>>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // Servers count by what lies in there, and a handler may drop its request early.
        let extensions = request.extensions().clone();
        let handler = self.inner.call(request);
        // Dropping the handle of a tokio task detaches it.
        let handler = tokio::spawn(async move {
            let response = handler.await;
            drop(extensions);
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
