//! The pages that all three servers have, and how they refuse a bad one.

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::tasks::LARGEST_N;

/// What `/fast` answers.
pub(crate) const FAST: &str = "Hello, world";

/// The largest n that a server computes where nothing can stop it.
///
/// A 2-core machine of 2026 takes 3 seconds for fib(44), 23 for fib(48), and
/// minutes from fib(52) on, when the one event loop, or a thread that nothing
/// can end, would be held all that time.
const LARGEST_UNSTOPPABLE_N: u64 = 48;

/// How much of a bad number is shown in the answer.
const SHOWN_CHARACTERS: usize = 20;

/// A page that says, in a sentence, why there is no result.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) sentence: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self { status, sentence: sentence.into() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, self.sentence + "\n").into_response()
    }
}

/// The index of a server, in two sentences.
pub(super) fn index(name: &'static str, does: &'static str) -> Router {
    let text = format!(
        "This is {name}: it {does}.\n\n/fast      answers at once\n/fib/42    computes the \
         42nd Fibonacci number, the slow way\n"
    );
    Router::new().route("/", get(move || std::future::ready(text.clone())))
}

/// Adds `/fast`, and a sentence for every path that there is not.
pub(super) fn around(fib: Router) -> Router {
    fib.route("/fast", get(fast))
        .route("/fib", get(no_number))
        .route("/fib/", get(no_number))
        .fallback(nothing_here)
}

/// Reads the n of `/fib/{n}`: any whole number whose Fibonacci number fits.
pub(super) fn any_n(text: &str) -> Result<u64, Refusal> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        let sentence = format!(
            "{} is not a whole number: ask for /fib/0 to /fib/{LARGEST_N}",
            shortened(text)
        );
        return Err(Refusal::new(StatusCode::BAD_REQUEST, sentence));
    }
    match text.parse() {
        Ok(n) if n <= LARGEST_N => Ok(n),
        _ => {
            let sentence = format!(
                "fib({}) does not fit 64 bits: the largest that does is fib({LARGEST_N})",
                shortened(text)
            );
            Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, sentence))
        }
    }
}

/// Reads the n of `/fib/{n}` on a server where nothing can stop a computation.
pub(super) fn quick_n(text: &str) -> Result<u64, Refusal> {
    let n = any_n(text)?;
    if n > LARGEST_UNSTOPPABLE_N {
        let sentence = format!(
            "fib({n}) would hold this server for minutes, and nothing could stop it: the largest \
             here is fib({LARGEST_UNSTOPPABLE_N}); the server after takes any"
        );
        return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, sentence));
    }
    Ok(n)
}

fn shortened(text: &str) -> String {
    let length = text.chars().count();
    if length <= SHOWN_CHARACTERS {
        return text.escape_debug().to_string();
    }
    let shown: String = text.chars().take(SHOWN_CHARACTERS).collect();
    format!("{}… ({length} characters)", shown.escape_debug())
}

async fn fast() -> &'static str {
    FAST
}

async fn no_number() -> Refusal {
    let sentence = format!("which one? Ask for /fib/0 to /fib/{LARGEST_N}");
    Refusal::new(StatusCode::BAD_REQUEST, sentence)
}

async fn nothing_here() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "there is no such page: try /fast or /fib/42")
}

#[cfg(test)]
mod tests {
    use super::{any_n, quick_n};

    #[test]
    fn a_number_that_fits_is_taken() {
        for (text, n) in [("0", 0), ("28", 28), ("007", 7), ("93", 93)] {
            assert_eq!(any_n(text).ok(), Some(n));
        }
    }

    #[test]
    fn what_is_no_number_is_refused_with_a_sentence() {
        for text in ["", "abc", "-1", "+1", "1.5", " 1", "١", "\n", "0x10"] {
            let refusal = any_n(text).expect_err(text);
            assert_eq!(refusal.status, 400);
            assert!(refusal.sentence.contains("is not a whole number"), "{}", refusal.sentence);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_a_short_sentence() {
        for text in ["94", "18446744073709551616", &"9".repeat(400)] {
            let refusal = any_n(text).expect_err(text);
            assert_eq!(refusal.status, 422);
            assert!(refusal.sentence.contains("does not fit 64 bits"), "{}", refusal.sentence);
            assert!(refusal.sentence.len() < 120, "{}", refusal.sentence);
        }
    }

    #[test]
    fn what_would_take_minutes_is_refused_where_it_cannot_be_stopped() {
        assert_eq!(quick_n("48").ok(), Some(48));
        let refusal = quick_n("49").expect_err("fib(49) was taken");
        assert_eq!(refusal.status, 422);
        assert!(refusal.sentence.contains("server after"), "{}", refusal.sentence);
    }
}
