//! Whether a server has been told to end.

use std::sync::Arc;

use http::Extensions;
use tokio::sync::watch;

/// Whether a server has been told to end: `/readyz` of [`Health`](crate::Health) fails then, and
/// streams of the status page end.
///
/// A server has one, and puts a clone into the extensions of each request.
/// `outboard_axum::serve` does.
///
/// # Examples
///
/// ```
/// use outboard_web::Ending;
///
/// let ending = Ending::default();
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(ending.clone());
/// ending.set(); // on SIGTERM
/// assert!(request.extensions().get::<Ending>().is_some_and(Ending::is_set));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Ending(Arc<watch::Sender<bool>>);

impl Ending {
    /// The server has been told so.
    pub fn set(&self) {
        self.0.send_replace(true);
    }

    /// Whether it has been told so.
    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is told so: for responses that would not end by themselves.
    ///
    /// # Cancel safety
    ///
    /// It is cancel safe.
    pub async fn wait(&self) {
        // An error cannot be: the sender is here.
        let _ = self.0.subscribe().wait_for(|set| *set).await;
    }

    /// Whether a request says that its server was told so.
    pub(crate) fn is_told_by(extensions: &Extensions) -> bool {
        extensions.get::<Self>().is_some_and(Self::is_set)
    }
}
