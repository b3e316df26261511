//! One row: a figure of ours, its reference, and whether the goal is met.

use serde::Serialize;

use super::figure::{Figure, Spread};

/// How far a figure may be from its reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// What a figure is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Unit {
    #[serde(rename = "s")]
    Seconds,
    #[serde(rename = "1/s")]
    PerSecond,
    #[serde(rename = "bytes")]
    Bytes,
    #[serde(rename = "wake-ups")]
    WakeUps,
}

/// A figure with its goal, as JSON has it.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    /// Whether spinners kept the cores awake.
    pub(super) spinners: bool,
    pub(super) unit: Unit,
    /// The median.
    pub(super) value: f64,
    /// Its quartiles.
    pub(super) spread: Spread,
    pub(super) reference: f64,
    pub(super) reference_spread: Spread,
    pub(super) reference_name: &'static str,
    /// `value / reference`.
    pub(super) ratio: f64,
    /// What the ratio is to be.
    pub(super) goal: f64,
    /// `at most` or `at least`.
    pub(super) goal_is: &'static str,
    pub(super) met: bool,
    pub(super) beside: Vec<Beside>,
}

/// What else does the same, or the least that part of it must cost: no goal.
#[derive(Debug, Serialize)]
pub(super) struct Beside {
    pub(super) name: &'static str,
    pub(super) value: f64,
    pub(super) spread: Spread,
}

impl Row {
    pub(super) fn new(
        name: impl Into<String>,
        unit: Unit,
        value: Figure,
        (reference_name, reference): (&'static str, Figure),
        goal: Goal,
    ) -> Self {
        let ratio = value.median / reference.median;
        let (goal_is, goal, met) = match goal {
            Goal::AtMost(goal) => ("at most", goal, ratio <= goal),
            Goal::AtLeast(goal) => ("at least", goal, ratio >= goal),
        };
        Self {
            name: name.into(),
            spinners: false,
            unit,
            value: value.median,
            spread: value.spread,
            reference: reference.median,
            reference_spread: reference.spread,
            reference_name,
            ratio,
            goal,
            goal_is,
            met,
            beside: Vec::new(),
        }
    }

    /// A row whose goal is not relative to anything measured.
    pub(super) fn within(name: impl Into<String>, unit: Unit, value: Figure, limit: f64) -> Self {
        Self::new(name, unit, value, ("the limit", Figure::exactly(limit)), Goal::AtMost(1.0))
    }

    pub(super) fn beside(mut self, name: &'static str, figure: Figure) -> Self {
        self.beside.push(Beside { name, value: figure.median, spread: figure.spread });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::{Figure, Goal, Row, Unit};

    #[test]
    fn a_goal_is_met_from_its_side() {
        let row = |value, goal| {
            let reference = ("bare", Figure::exactly(2.0));
            Row::new("x", Unit::Seconds, Figure::exactly(value), reference, goal)
        };
        assert!(row(3.0, Goal::AtMost(1.5)).met && !row(3.1, Goal::AtMost(1.5)).met);
        assert!(row(3.0, Goal::AtLeast(1.5)).met && !row(2.9, Goal::AtLeast(1.5)).met);
        assert_eq!(row(3.0, Goal::AtMost(1.5)).ratio, 1.5);
    }
}
