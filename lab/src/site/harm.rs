//! What does a server harm: the functions behind the buttons of the live page that crash,
//! or take all the memory.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::pages::Refusal;
use crate::tasks;

/// The most memory that [`hoard`] takes where nothing stops it: a limit that is
/// lower does.
const MOST_BYTES: usize = 2 << 30;

/// How much it takes at a time.
const PIECE_BYTES: usize = 4 << 20;

/// Ends the process that computes it, as a fault in native code would.
///
/// The number makes each a task of its own: arguments that took workers down
/// again and again are not executed any more.
#[outboard::task]
pub(super) fn crash(_number: u64) {
    std::process::abort()
}

/// Takes memory, and writes to it, until there is none left; then the process
/// that computes it ends. Gives how much it had, in bytes, if there was no end.
#[outboard::task]
pub(super) fn hoard(_number: u64) -> u64 {
    let pieces = (0..MOST_BYTES / PIECE_BYTES).map(|_| black_box(vec![1_u8; PIECE_BYTES]));
    let hoard: Vec<Vec<u8>> = pieces.collect();
    (hoard.len() * PIECE_BYTES) as u64
}

/// [`tasks::fib_lines`], but in the middle of the page the process ends, as in [`crash`].
#[outboard::task]
pub(super) fn broken_lines(n: u64, number: u64) -> impl Iterator<Item = Bytes> + Send + 'static {
    let end = std::iter::from_fn(move || {
        crash(number);
        None
    });
    tasks::fib_lines(n).take(tasks::LINES / 2).chain(end)
}

/// A number that no other call gets.
pub(super) fn next() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Relaxed)
}

/// Pages that no page of a browser may ask for: only the server of the live page
/// may, which sends none of the headers that browsers do.
pub(super) fn guarded(pages: Router) -> Router {
    pages.route_layer(middleware::from_fn(no_browser))
}

async fn no_browser(request: Request, next: Next) -> Response {
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site") {
        let sentence = "a page of a browser may not ask for this";
        return Refusal::new(StatusCode::FORBIDDEN, sentence).into_response();
    }
    next.run(request).await
}
