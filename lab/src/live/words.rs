//! What came of a load, in words: what it meant for who sent it, and for everybody else.
//!
//! Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::browser::Answer;
use crate::figure;
use crate::measure::Fault;

/// Everybody has noticed a wait as long as this.
const NOTICED: Duration = Duration::from_millis(500);

/// What came of a load on one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Came {
    pub(super) verdict: Verdict,
    /// In a sentence.
    pub(super) text: String,
    /// What the server said, and what else was seen; may be empty.
    pub(super) detail: String,
    /// When it was over, on the clock of the frames.
    pub(super) until: u64,
}

/// Whom it harmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// Nobody.
    Good,
    /// Those who sent it.
    Failed,
    /// Everybody: they had to wait.
    Stalled,
    /// Everybody: the server was not there.
    Down,
    /// It is not known: who sent it has left.
    Left,
}

/// What was seen beside the answers.
#[derive(Debug)]
pub(super) struct Seen {
    /// From the first request to the last answer.
    pub(super) elapsed: Duration,
    /// For how long the server was not there, if it was not.
    pub(super) away: Option<Duration>,
    /// The longest that everybody else waited for the quick page.
    pub(super) worst: Option<Duration>,
    /// What else there is to say: of somebody else who came meanwhile, of lines.
    pub(super) meanwhile: String,
    /// When it was over, on the clock of the frames.
    pub(super) until: u64,
}

/// The answers to many requests.
#[derive(Debug, Default)]
pub(super) struct Tally {
    good: usize,
    faults: BTreeMap<String, usize>,
    cut: bool,
}

impl Tally {
    pub(super) fn count(&mut self, answer: Result<Answer, Fault>) {
        self.cut |= matches!(answer, Err(Fault::Reset | Fault::Refused));
        match outcome(answer) {
            Ok(()) => self.good += 1,
            Err(fault) => *self.faults.entry(fault).or_default() += 1,
        }
    }

    /// Whether a connection was cut or refused, as by a server that has died.
    pub(super) fn was_cut(&self) -> bool {
        self.cut
    }

    /// Why there are answers that are not good; empty if all are.
    pub(super) fn faults(&self) -> String {
        let each = self.faults.iter().map(|(fault, count)| match count {
            1 => fault.clone(),
            _ => format!("{count} × {fault}"),
        });
        each.collect::<Vec<_>>().join("; ")
    }
}

impl Came {
    pub(super) fn of(tally: &Tally, seen: &Seen) -> Self {
        let failed: usize = tally.faults.values().sum();
        let stalled = seen.worst.is_some_and(|worst| worst >= NOTICED);
        let (verdict, text) = match (seen.away, failed) {
            (Some(away), _) => {
                let away = time(away);
                let text =
                    format!("the server was down for {away}: everybody’s requests were lost");
                (Verdict::Down, text)
            }
            (None, 0) => {
                let verdict = if stalled { Verdict::Stalled } else { Verdict::Good };
                (verdict, answered(tally.good, seen) + &others(seen))
            }
            (None, _) => {
                let verdict = if stalled { Verdict::Stalled } else { Verdict::Failed };
                (verdict, refused(tally.good, failed, seen) + &others(seen))
            }
        };
        let details = [tally.faults(), seen.meanwhile.clone()];
        let details = details.into_iter().filter(|detail| !detail.is_empty());
        let detail = details.collect::<Vec<_>>().join("; ");
        Self { verdict, text, detail, until: seen.until }
    }

    /// The same, with something to add.
    pub(super) fn adding(self, detail: String) -> Self {
        Self { detail, ..self }
    }

    /// Who sent it has left after a time.
    pub(super) fn left(after: Duration, until: u64) -> Self {
        let text = format!("left after {}", time(after));
        Self { verdict: Verdict::Left, text, detail: String::new(), until }
    }
}

fn answered(good: usize, seen: &Seen) -> String {
    match good {
        1 => format!("answered in {}", time(seen.elapsed)),
        _ => format!("{good} answered in {}", time(seen.elapsed)),
    }
}

fn refused(good: usize, failed: usize, seen: &Seen) -> String {
    let failed = match (good, failed) {
        (0, 1) => "one request failed".to_owned(),
        (0, _) => format!("all {failed} requests failed"),
        _ => format!("{failed} of {} requests failed, {}", good + failed, answered(good, seen)),
    };
    failed + "; the server never stopped"
}

/// What everybody else noticed.
fn others(seen: &Seen) -> String {
    match seen.worst {
        None => String::new(),
        Some(worst) if worst >= NOTICED => {
            format!("; everybody else waited, up to {}", time(worst))
        }
        Some(worst) => format!("; everybody else waited {} at most", time(worst)),
    }
}

fn time(time: Duration) -> String {
    figure::time(time.as_secs_f64())
}

/// A good answer, or in words why there is none.
fn outcome(answer: Result<Answer, Fault>) -> Result<(), String> {
    let answer = answer.map_err(|fault| fault.to_string())?;
    if answer.status.is_success() {
        return Ok(());
    }
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let detail = problem["detail"].as_str().and_then(|detail| detail.lines().next());
    let status = answer.status.as_u16();
    Err(detail.map_or_else(|| format!("http {status}"), |it| format!("http {status}, {it}")))
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    fn answers(status: u16, count: usize, tally: &mut Tally) {
        for _ in 0..count {
            let status = StatusCode::from_u16(status).expect("it is one");
            let body = r#"{"detail":"worker 1 was lost\nstderr: …"}"#.into();
            tally.count(Ok(Answer { status, headers: Default::default(), body }));
        }
    }

    fn seen(away_ms: Option<u64>, worst_ms: u64) -> Seen {
        Seen {
            elapsed: Duration::from_secs(3),
            away: away_ms.map(Duration::from_millis),
            worst: Some(Duration::from_millis(worst_ms)),
            meanwhile: String::new(),
            until: 7,
        }
    }

    fn said(tally: &Tally, seen: &Seen) -> (Verdict, String) {
        let Came { verdict, text, .. } = Came::of(tally, seen);
        (verdict, text)
    }

    #[test]
    fn a_server_that_died_and_one_that_lost_a_request_are_told_apart() {
        let mut died = Tally::default();
        died.count(Err(Fault::Reset));
        assert!(died.was_cut());
        let down = "the server was down for 1.60 s: everybody’s requests were lost";
        assert_eq!(said(&died, &seen(Some(1_600), 5)), (Verdict::Down, down.to_owned()));

        let mut lost = Tally::default();
        answers(500, 1, &mut lost);
        assert!(!lost.was_cut());
        let text = "one request failed; the server never stopped; everybody else waited 5.00 ms \
                    at most";
        assert_eq!(said(&lost, &seen(None, 5)), (Verdict::Failed, text.to_owned()));
        assert_eq!(Came::of(&lost, &seen(None, 5)).detail, "http 500, worker 1 was lost");
    }

    #[test]
    fn an_answer_for_which_everybody_waited_is_no_good_one() {
        let mut tally = Tally::default();
        answers(200, 1, &mut tally);
        let (verdict, text) = said(&tally, &seen(None, 2_900));
        assert_eq!(verdict, Verdict::Stalled);
        assert_eq!(text, "answered in 3.00 s; everybody else waited, up to 2.90 s");
        let (verdict, text) = said(&tally, &seen(None, 9));
        assert_eq!(verdict, Verdict::Good);
        assert_eq!(text, "answered in 3.00 s; everybody else waited 9.00 ms at most");
    }

    #[test]
    fn some_of_many_are_counted_and_so_are_their_faults() {
        let mut tally = Tally::default();
        answers(200, 97, &mut tally);
        answers(503, 3, &mut tally);
        let came = Came::of(&tally, &Seen { meanwhile: "else: 1 ms".into(), ..seen(None, 9) });
        assert!(came.text.starts_with("3 of 100 requests failed, 97 answered in 3.00 s; the "));
        assert_eq!(came.detail, "3 × http 503, worker 1 was lost; else: 1 ms");
        let mut none = Tally::default();
        answers(503, 4, &mut none);
        assert!(said(&none, &seen(None, 9)).1.starts_with("all 4 requests failed; the server"));
    }
}
