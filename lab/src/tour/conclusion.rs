//! What the tour has shown, in a few sentences.
//!
//! Pure.

use super::experiment::Outcome;
use super::report::Report;
use crate::figure;
use crate::site::Host;

/// One thing that was shown: a claim, and the figures that it is read from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) claim: String,
    pub(super) figures: String,
    pub(super) failed: bool,
}

/// The experiments, by their names.
struct Shown<'a>(Vec<&'a Outcome>);

/// The conclusion of a report, the most important first.
pub(super) fn of(report: &Report) -> Vec<Point> {
    let failures = report.failures();
    let failed = (!failures.is_empty()).then(|| Point {
        claim: "Not all went well.".to_owned(),
        figures: format!("These experiments failed: {}.", failures.join("; ")),
        failed: true,
    });
    let shown = Shown(report.rows().concat());
    let points = [failed, shown.behind(), shown.parallel(), shown.round_trip()];
    points.into_iter().flatten().collect()
}

impl Shown<'_> {
    /// How long an experiment took on a server, if it had no errors.
    fn seconds(&self, name: &str, host: Host) -> Option<f64> {
        let found = self.0.iter().find(|it| it.name == name && it.server == host)?;
        (found.errors == 0).then_some(found.seconds)
    }

    fn on_all(&self, name: &str) -> Option<[f64; 3]> {
        let [before, threads, after] = Host::ALL.map(|host| self.seconds(name, host));
        Some([before?, threads?, after?])
    }

    fn behind(&self) -> Option<Point> {
        let [before, threads, after] = self.on_all("fast_behind_slow_equal_work")?;
        let slow = self.seconds("slow_equal_work", Host::After)?;
        let claim = match before / after {
            times @ 2.0.. => format!(
                "Behind a slow request, the quick page is {} times as fast with Outboard as in the \
                 handler.",
                rounded(times)
            ),
            _ => "Behind a slow request, the quick page was not quicker this time.".to_owned(),
        };
        Some(good(claim, &format!("While {} was computed", time(slow)), before, threads, after))
    }

    fn parallel(&self) -> Option<Point> {
        let [before, threads, after] = self.on_all("parallel_equal_work")?;
        let claim = match before / after {
            times @ 1.1.. => format!(
                "Twenty slow requests at once are done {times:.1} times as fast: all cores compute."
            ),
            _ => "Twenty slow requests at once were not done faster this time.".to_owned(),
        };
        Some(good(claim, "All twenty together", before, threads, after))
    }

    fn round_trip(&self) -> Option<Point> {
        let after = self.seconds("roundtrip", Host::After)?;
        let claim = format!("A task in another process costs {}.", time(after));
        let figures = "The median of a round trip of x + 1 on after.".to_owned();
        Some(Point { claim, figures, failed: false })
    }
}

fn good(claim: String, what: &str, before: f64, threads: f64, after: f64) -> Point {
    let [before, threads, after] = [before, threads, after].map(time);
    let figures = format!("{what}: {before} on before, {threads} on threads, {after} on after.");
    Point { claim, figures, failed: false }
}

/// Two digits: nobody needs more to believe it.
fn rounded(times: f64) -> String {
    let unit = 10_f64.powi((times.log10().floor() as i32 - 1).max(0));
    figure::count(((times / unit).round() * unit) as usize)
}

fn time(seconds: f64) -> String {
    figure::time(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(name: &str, server: Host, seconds: f64) -> Outcome {
        Outcome {
            name: name.to_owned(),
            server,
            path: String::new(),
            requests: 1,
            seconds,
            p50_ms: None,
            p99_ms: None,
            errors: 0,
            notebook_seconds: None,
            asked: String::new(),
            faults: Vec::new(),
        }
    }

    fn all(name: &str, seconds: [f64; 3]) -> Vec<Outcome> {
        let on = |at: usize| outcome(name, Host::ALL[at], seconds[at]);
        (0..3).map(on).collect()
    }

    #[test]
    fn what_matters_is_said_with_its_figures() {
        let mut outcomes = all("fast_behind_slow_equal_work", [2.5, 0.000_488, 0.000_558]);
        outcomes.extend(all("slow_equal_work", [2.5, 2.51, 2.72]));
        let shown = Shown(outcomes.iter().collect());
        let point = shown.behind().expect("all figures are there");
        assert_eq!(
            point.claim,
            "Behind a slow request, the quick page is 4,500 times as fast with Outboard as in the handler."
        );
        let figures = "While 2.72 s was computed: 2.50 s on before, 488 µs on threads, 558 µs on \
                       after.";
        assert_eq!(point.figures, figures);
        assert_eq!(shown.parallel(), None, "it was not measured");
    }

    #[test]
    fn nothing_is_claimed_that_was_not_so() {
        let outcomes = all("parallel_equal_work", [1.0, 1.0, 1.0]);
        let point = Shown(outcomes.iter().collect()).parallel().expect("the figures are there");
        assert_eq!(point.claim, "Twenty slow requests at once were not done faster this time.");
        let mut outcomes = all("parallel_equal_work", [2.0, 1.0, 1.0]);
        outcomes[0].errors = 3;
        assert_eq!(Shown(outcomes.iter().collect()).parallel(), None, "before failed");
    }
}
