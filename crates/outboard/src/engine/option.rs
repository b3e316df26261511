//! One option of an engine: how a value is read, set, refused and documented.
//!
//! A table of options is the only place that has their names and bounds. URLs, the
//! builder, error messages and the documentation come from it.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::quantity::{Unread, duration, shown_duration, shown_size, size, times, whole};

/// An option that sets something of a `T`.
#[derive(Debug)]
pub(crate) struct EngineOption<T> {
    pub(crate) name: &'static str,
    /// A value that is not the default, for error messages and documentation.
    pub(crate) example: &'static str,
    pub(crate) kind: Kind<T>,
    /// The engines that heed it. The others accept it, and it changes nothing there.
    pub(crate) engines: &'static [&'static str],
    /// What it means, in a line of documentation, with its default.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test compares the documentation"))]
    pub(crate) says: &'static str,
}

/// What the values of an option are, and what sets one that is within its bounds.
#[derive(Debug)]
pub(crate) enum Kind<T> {
    Count(RangeInclusive<u64>, fn(&mut T, u64)),
    Bytes(RangeInclusive<u64>, fn(&mut T, u64)),
    /// A duration of at least so much.
    Time(Duration, Option<Older>, fn(&mut T, Duration)),
    Flag(fn(&mut T, bool)),
    Text(Form, fn(&mut T, &str)),
}

/// An older name of an option, whose values are whole numbers of a unit.
#[derive(Debug)]
pub(crate) struct Older {
    pub(crate) name: &'static str,
    pub(crate) unit: Duration,
}

/// What a text has to be.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) wants: &'static str,
    pub(crate) fits: fn(&str) -> bool,
}

/// A value of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(u64),
    Time(Duration),
    Flag(bool),
    Text(&'a str),
}

/// The bound of durations that must not be zero.
pub(crate) const ABOVE_ZERO: Duration = Duration::from_nanos(1);

/// The option with that name, or older name.
pub(crate) fn find<'a, T>(
    options: &'a [EngineOption<T>],
    name: &str,
) -> Option<&'a EngineOption<T>> {
    options.iter().find(|option| {
        option.name == name || option.older().is_some_and(|older| older.name == name)
    })
}

/// Says that there is no such option, and which is meant or which there are.
pub(crate) fn unknown(written: &str, known: &[String]) -> String {
    // Those with a prefix are about something else than those without.
    let alike = |name: &&String| name.contains('.') == written.contains('.');
    let alike: Vec<&str> = known.iter().filter(alike).map(String::as_str).collect();
    let near = alike.iter().map(|name| (distance(&written.to_ascii_lowercase(), name), *name));
    match near.min().filter(|(distance, name)| *distance <= name.len() / 3) {
        Some((_, near)) => format!("no option is named `{written}`; did you mean `{near}`?"),
        None if alike.is_empty() => format!("no option is named `{written}`"),
        None => format!("no option is named `{written}`; known are {}", alike.join(", ")),
    }
}

impl<T> EngineOption<T> {
    /// Sets a value that is written as text, as URLs have it. `written` is the name
    /// that stands there: perhaps the older one, perhaps after a prefix with a dot.
    ///
    /// # Errors
    ///
    /// A line that says what is wrong with the value.
    pub(crate) fn set_text(&self, written: &str, text: &str, target: &mut T) -> Result<(), String> {
        let older = self.older().filter(|older| written.ends_with(older.name));
        let value = match (&self.kind, older) {
            (Kind::Count(..), _) => whole(text).map(Value::Number),
            (Kind::Bytes(..), _) => size(text).map(Value::Number),
            (Kind::Time(..), None) => duration(text).map(Value::Time),
            (Kind::Time(..), Some(older)) => {
                whole(text).and_then(|number| times(older.unit, number)).map(Value::Time)
            }
            (Kind::Flag(_), _) if matches!(text, "0" | "1") => Ok(Value::Flag(text == "1")),
            (Kind::Flag(_), _) => Err(Unread::Unfit),
            (Kind::Text(..), _) => Ok(Value::Text(text)),
        };
        match value {
            Ok(value) => self.set(written, value, target),
            Err(Unread::TooLarge) => Err(format!("`{written}={text}` is too large")),
            Err(Unread::Unfit) => Err(self.unfit(written, text)),
        }
    }

    /// Sets a value.
    ///
    /// # Errors
    ///
    /// A line that says which bound it is beyond.
    pub(crate) fn set(
        &self,
        written: &str,
        value: Value<'_>,
        target: &mut T,
    ) -> Result<(), String> {
        if let Some(bound) = self.bound(value) {
            return Err(format!("`{written}` must be {bound}, not {}", self.shown(value)));
        }
        match (&self.kind, value) {
            (Kind::Count(_, set) | Kind::Bytes(_, set), Value::Number(number)) => {
                set(target, number);
            }
            (Kind::Time(_, _, set), Value::Time(time)) => set(target, time),
            (Kind::Flag(set), Value::Flag(flag)) => set(target, flag),
            (Kind::Text(form, set), Value::Text(text)) if (form.fits)(text) => set(target, text),
            (_, value) => return Err(self.unfit(written, &self.shown(value))),
        }
        Ok(())
    }

    fn older(&self) -> Option<&Older> {
        match &self.kind {
            Kind::Time(_, older, _) => older.as_ref(),
            _ => None,
        }
    }

    /// Says what a value has to be that is something else.
    fn unfit(&self, written: &str, text: &str) -> String {
        let prefix = written.rfind('.').map_or("", |dot| &written[..=dot]);
        let not = if text.is_empty() { String::new() } else { format!(", not `{text}`") };
        let (wants, name, example) = (self.wants(), self.name, self.example);
        match written == name || written.strip_prefix(prefix) == Some(name) {
            true => format!("`{written}` wants {wants}{not}; for example `{written}={example}`"),
            false => format!(
                "`{written}` wants a whole number{not}; better is `{prefix}{name}={example}`"
            ),
        }
    }

    fn wants(&self) -> &'static str {
        match &self.kind {
            Kind::Count(..) => "a whole number",
            Kind::Bytes(..) => "a size",
            Kind::Time(..) => "a duration",
            Kind::Flag(_) => "0 or 1",
            Kind::Text(form, _) => form.wants,
        }
    }

    /// The bound that a value is beyond.
    fn bound(&self, value: Value<'_>) -> Option<String> {
        match (&self.kind, value) {
            (Kind::Count(bounds, _) | Kind::Bytes(bounds, _), Value::Number(number)) => {
                let shown = |bound| self.shown(Value::Number(bound));
                let (least, most) = (*bounds.start(), *bounds.end());
                let below = (number < least).then(|| format!("at least {}", shown(least)));
                below.or_else(|| (number > most).then(|| format!("at most {}", shown(most))))
            }
            (Kind::Time(least, ..), Value::Time(time)) if time < *least => match *least {
                ABOVE_ZERO => Some("greater than 0".to_owned()),
                least => Some(format!("at least {}", shown_duration(least))),
            },
            _ => None,
        }
    }

    fn shown(&self, value: Value<'_>) -> String {
        match value {
            Value::Number(bytes) if matches!(self.kind, Kind::Bytes(..)) => shown_size(bytes),
            Value::Number(number) => number.to_string(),
            Value::Time(time) => shown_duration(time),
            Value::Flag(flag) => u8::from(flag).to_string(),
            Value::Text(text) => text.to_owned(),
        }
    }
}

/// How many letters have to be added, removed or replaced to make one text of the
/// other (Levenshtein's distance).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, same) in (1..).zip(other.iter().map(|it| *it == letter)) {
            let replaced = diagonal + usize::from(!same);
            diagonal = row[column];
            row[column] = replaced.min(row[column] + 1).min(row[column - 1] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
impl<T> EngineOption<T> {
    /// Its row in the documentation: an example, the values, what it means.
    pub(crate) fn row(&self) -> String {
        // A bound that needs more than 32 bits is none that anyone meets.
        let extremes = match self.kind {
            Kind::Time(..) => [Value::Time(Duration::ZERO), Value::Time(Duration::MAX)],
            _ => [Value::Number(0), Value::Number(u32::MAX.into())],
        };
        let bounds = extremes.into_iter().filter_map(|extreme| self.bound(extreme));
        let bounds: String = bounds.map(|bound| format!(", {bound}")).collect();
        let older = self.older().map(|older| format!("; or `{}`", older.name)).unwrap_or_default();
        let (name, example, wants, says) = (self.name, self.example, self.wants(), self.says);
        format!("| `{name}={example}` | {wants}{bounds}{older} | {says} |")
    }

    /// Its row in the documentation of `Client::connect`.
    pub(crate) fn row_of_connect(&self) -> String {
        let engines: Vec<_> = self.engines.iter().map(|engine| format!("`{engine}`")).collect();
        format!("{} {} |", self.row(), engines.join(", "))
    }
}

/// The rows of options in the documentation of `Client::connect`.
#[cfg(test)]
pub(crate) fn rows_of_connect() -> Vec<&'static str> {
    let docs = include_str!("../front/client.rs");
    let table =
        docs.split_once("/// | option | value | meaning | heeded by |\n").expect("a table").1;
    let lines = table.lines().map(|line| line.trim_start().trim_start_matches("/// "));
    lines.skip(1).take_while(|line| line.starts_with('|')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq)]
    struct Target {
        count: u64,
        bytes: u64,
        time: Duration,
        flag: bool,
    }

    const OPTIONS: &[EngineOption<Target>] = &[
        EngineOption {
            name: "count",
            example: "4",
            kind: Kind::Count(1..=19, |target, count| target.count = count),
            engines: &[],
            says: "How many.",
        },
        EngineOption {
            name: "room",
            example: "512MiB",
            kind: Kind::Bytes(1 << 20..=2 << 30, |target, bytes| target.bytes = bytes),
            engines: &[],
            says: "How much.",
        },
        EngineOption {
            name: "patience",
            example: "5m",
            kind: Kind::Time(
                ABOVE_ZERO,
                Some(Older { name: "patience_ms", unit: Duration::from_millis(1) }),
                |target, time| target.time = time,
            ),
            engines: &[],
            says: "How long.",
        },
        EngineOption {
            name: "tidy",
            example: "1",
            kind: Kind::Flag(|target, flag| target.flag = flag),
            engines: &[],
            says: "Whether.",
        },
    ];

    fn set(name: &str, text: &str) -> Result<Target, String> {
        let mut target = Target::default();
        let own = name.strip_prefix("sub.").unwrap_or(name);
        find(OPTIONS, own).expect(name).set_text(name, text, &mut target)?;
        Ok(target)
    }

    #[test]
    fn values_are_read_by_their_kind() {
        let none = Target::default;
        assert_eq!(set("count", "19"), Ok(Target { count: 19, ..none() }));
        assert_eq!(set("room", "2GiB"), Ok(Target { bytes: 2 << 30, ..none() }));
        let time = Duration::from_millis(1_500);
        assert_eq!(set("patience", "1s500ms"), Ok(Target { time, ..none() }));
        assert_eq!(set("patience_ms", "1500"), Ok(Target { time, ..none() }));
        assert_eq!(set("tidy", "1"), Ok(Target { flag: true, ..none() }));
        assert_eq!(set("tidy", "0"), Ok(none()));
    }

    #[test]
    fn a_wrong_value_is_told_what_is_wanted() {
        for (name, text, says) in [
            ("count", "many", "`count` wants a whole number, not `many`; for example `count=4`"),
            ("count", "", "`count` wants a whole number; for example `count=4`"),
            ("count", "0", "`count` must be at least 1, not 0"),
            ("count", "20", "`count` must be at most 19, not 20"),
            ("count", "99999999999999999999", "`count=99999999999999999999` is too large"),
            ("room", "12x", "`room` wants a size, not `12x`; for example `room=512MiB`"),
            ("room", "1023KiB", "`room` must be at least 1MiB, not 1023KiB"),
            ("room", "3GiB", "`room` must be at most 2GiB, not 3GiB"),
            ("room", "99EiB", "`room=99EiB` is too large"),
            ("patience", "5", "`patience` wants a duration, not `5`; for example `patience=5m`"),
            ("patience", "0s", "`patience` must be greater than 0, not 0s"),
            (
                "patience_ms",
                "5m",
                "`patience_ms` wants a whole number, not `5m`; better is `patience=5m`",
            ),
            ("tidy", "yes", "`tidy` wants 0 or 1, not `yes`; for example `tidy=1`"),
            ("sub.tidy", "2", "`sub.tidy` wants 0 or 1, not `2`; for example `sub.tidy=1`"),
            (
                "sub.patience_ms",
                "",
                "`sub.patience_ms` wants a whole number; better is `sub.patience=5m`",
            ),
        ] {
            assert_eq!(set(name, text), Err(says.to_owned()));
        }
    }

    #[test]
    fn the_documentation_has_the_bounds() {
        let rows: Vec<_> = OPTIONS.iter().map(EngineOption::row).collect();
        let expected = [
            "| `count=4` | a whole number, at least 1, at most 19 | How many. |",
            "| `room=512MiB` | a size, at least 1MiB, at most 2GiB | How much. |",
            "| `patience=5m` | a duration, greater than 0; or `patience_ms` | How long. |",
            "| `tidy=1` | 0 or 1 | Whether. |",
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn the_nearest_name_is_suggested() {
        let known = ["workers", "spares", "mixed", "sub.room"].map(str::to_owned);
        for typo in ["worker", "Workers", "workres", "wokers"] {
            assert!(unknown(typo, &known).ends_with("did you mean `workers`?"), "{typo}");
        }
        for other in ["speed", "w", "", "workers_of_all_lands"] {
            let line = unknown(other, &known);
            assert!(line.ends_with("known are workers, spares, mixed"), "{line}");
        }
        assert!(unknown("sub.roam", &known).ends_with("did you mean `sub.room`?"));
        assert!(unknown("sub.speed", &known).ends_with("known are sub.room"));
        assert!(unknown("sub.speed", &known[..1]).ends_with("no option is named `sub.speed`"));
    }
}
