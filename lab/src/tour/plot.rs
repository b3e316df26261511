//! Times as bars on one scale, which is logarithmic where they are far apart.
//!
//! Pure: it gives the places, and the page draws.

use crate::figure;
use crate::site::Host;

/// Where the longest is so many times the shortest, lengths are logarithms.
const FAR_APART: f64 = 30.0;

/// A logarithmic scale begins so many decades before the shortest: it is to be seen.
const ROOM: f64 = 0.3;

/// A scale of more decades has a figure for every other one.
const CROWDED: i32 = 4;

/// One bar.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub(super) label: String,
    /// How long it took; or what failed.
    pub(super) took: Result<f64, String>,
    /// The server whose colour it has; without one, the notebook's.
    pub(super) host: Option<Host>,
}

/// Bars and scale, as parts of the width in percent.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) bars: Vec<Drawn>,
    pub(super) ticks: Vec<Tick>,
    pub(super) logarithmic: bool,
}

#[derive(Debug)]
pub(super) struct Drawn {
    pub(super) label: String,
    pub(super) figure: String,
    /// `before`, `threads`, `after` or `notebook`.
    pub(super) kind: &'static str,
    pub(super) failed: bool,
    pub(super) percent: f64,
}

#[derive(Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) percent: f64,
    pub(super) text: String,
}

/// How a time becomes a length.
#[derive(Clone, Copy, Debug)]
enum Scale {
    Linear {
        most: f64,
    },
    /// From one power of ten of seconds, so many decades.
    Logarithmic {
        from: i32,
        decades: i32,
    },
}

/// Finds a scale for the bars, and their places on it.
pub(super) fn plot(bars: &[Bar]) -> Plot {
    let times = bars.iter().filter_map(|bar| bar.took.as_ref().ok()).copied();
    let scale = Scale::of(times);
    let drawn = bars.iter().map(|bar| {
        let (percent, figure) = match &bar.took {
            Ok(seconds) => (scale.percent(*seconds), figure::time(*seconds)),
            Err(failed) => (0.0, failed.clone()),
        };
        let (label, kind, failed) = (bar.label.clone(), kind(bar.host), bar.took.is_err());
        Drawn { label, figure, kind, failed, percent }
    });
    let logarithmic = matches!(scale, Scale::Logarithmic { .. });
    Plot { bars: drawn.collect(), ticks: scale.ticks(), logarithmic }
}

fn kind(host: Option<Host>) -> &'static str {
    match host {
        None => "notebook",
        Some(Host::Before) => "before",
        Some(Host::Threads) => "threads",
        Some(Host::After) => "after",
    }
}

impl Scale {
    fn of(times: impl Iterator<Item = f64> + Clone) -> Self {
        let most = times.clone().fold(f64::MIN_POSITIVE, f64::max);
        let least = times.fold(most, f64::min).max(f64::MIN_POSITIVE);
        if most < FAR_APART * least {
            return Self::Linear { most };
        }
        let from = (least.log10() - ROOM).floor();
        Self::Logarithmic { from: from as i32, decades: (most.log10().ceil() - from) as i32 }
    }

    fn percent(self, seconds: f64) -> f64 {
        100.0
            * match self {
                Self::Linear { most } => seconds / most,
                Self::Logarithmic { from, decades } => {
                    (seconds.log10() - f64::from(from)) / f64::from(decades)
                }
            }
    }

    fn ticks(self) -> Vec<Tick> {
        match self {
            Self::Linear { most } => [0.0, 0.5, 1.0]
                .map(|part| {
                    let text = if part > 0.0 { figure::time(part * most) } else { "0".to_owned() };
                    Tick { percent: 100.0 * part, text }
                })
                .into(),
            Self::Logarithmic { from, decades } => (0..=decades)
                .step_by(if decades > CROWDED { 2 } else { 1 })
                .map(|at| {
                    let percent = 100.0 * f64::from(at) / f64::from(decades);
                    Tick { percent, text: power(from + at) }
                })
                .collect(),
        }
    }
}

/// A power of ten of seconds, as `10 µs`.
fn power(exponent: i32) -> String {
    let (unit, name) = match exponent {
        ..=-4 => (-6, "µs"),
        -3..=-1 => (-3, "ms"),
        _ => (0, "s"),
    };
    format!("{} {name}", 10_f64.powi(exponent - unit))
}

#[cfg(test)]
mod tests {
    use super::{Bar, Plot, plot};
    use crate::site::Host;

    fn drawn(times: &[f64]) -> Plot {
        let bar = |seconds: &f64| Bar { label: "it".to_owned(), took: Ok(*seconds), host: None };
        plot(&times.iter().map(bar).collect::<Vec<_>>())
    }

    fn percents(plot: &Plot) -> Vec<f64> {
        plot.bars.iter().map(|bar| bar.percent.round()).collect()
    }

    fn ticks(plot: &Plot) -> Vec<&str> {
        plot.ticks.iter().map(|tick| tick.text.as_str()).collect()
    }

    #[test]
    fn a_bar_twice_as_long_is_drawn_twice_as_wide() {
        let plot = drawn(&[2.0, 1.0]);
        assert_eq!(percents(&plot), [100.0, 50.0]);
        assert_eq!((plot.logarithmic, ticks(&plot)), (false, vec!["0", "1.00 s", "2.00 s"]));
    }

    #[test]
    fn what_is_far_apart_is_all_to_be_seen_on_a_logarithmic_scale() {
        let plot = drawn(&[1.0, 0.001]);
        assert_eq!(percents(&plot), [100.0, 25.0]);
        let decades = ["100 µs", "1 ms", "10 ms", "100 ms", "1 s"];
        assert_eq!((plot.logarithmic, ticks(&plot)), (true, decades.to_vec()));
        for least in [1.0001e-5, 0.999e-5, 3e-5] {
            assert!(drawn(&[10.0, least]).bars[1].percent > 4.0, "{least}");
        }
    }

    #[test]
    fn what_failed_has_a_row_and_no_length() {
        let failed = Bar { label: "after".into(), took: Err("3 failed".into()), host: None };
        let good = Bar { label: "after".into(), took: Ok(1.0), host: Some(Host::After) };
        let plot = plot(&[failed, good]);
        assert_eq!((plot.bars[0].figure.as_str(), plot.bars[0].percent), ("3 failed", 0.0));
        assert_eq!((plot.bars[1].kind, plot.bars[1].percent), ("after", 100.0));
        assert!(drawn(&[]).bars.is_empty());
    }
}
