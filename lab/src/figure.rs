//! Times as people read them, three digits and a unit, and as they write them.

use std::time::Duration;

use indicatif::HumanCount;

/// A time in seconds, as `14.4 µs`, `5.26 ms` or `11.4 s`.
pub(crate) fn time(seconds: f64) -> String {
    let micros = seconds * 1e6;
    if micros < 999.5 {
        format!("{} µs", three_digits(micros))
    } else if micros < 999_500.0 {
        format!("{} ms", three_digits(micros / 1e3))
    } else {
        format!("{} s", three_digits(seconds))
    }
}

/// A whole number with commas, as `10,000`.
pub(crate) fn count(number: usize) -> String {
    HumanCount(number as u64).to_string()
}

/// So many of something, as `1 task` or `10,000 tasks`.
pub(crate) fn counted(number: usize, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A duration that is not zero: `30s`, `500ms`, `1m 30s`, or plain seconds: `30`, `0.5`.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    match parsed {
        Some(Duration::ZERO) => Err("it must be longer than nothing".to_owned()),
        Some(duration) => Ok(duration),
        None => Err("write it as 30s, 500ms or 1m30s".to_owned()),
    }
}

fn three_digits(number: f64) -> String {
    let decimals = match number {
        n if n < 9.995 => 2,
        n if n < 99.95 => 1,
        _ => 0,
    };
    format!("{number:.decimals$}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{count, counted, parse_time, time};

    #[test]
    fn one_task_is_no_tasks() {
        let told = [0, 1, 10_000].map(|number| counted(number, "task"));
        assert_eq!(told, ["0 tasks", "1 task", "10,000 tasks"]);
    }

    #[test]
    fn three_digits_and_the_unit_that_suits_them() {
        assert_eq!(time(0.000_014_38), "14.4 µs");
        assert_eq!(time(0.005_26), "5.26 ms");
        assert_eq!(time(0.009_997), "10.0 ms");
        assert_eq!(time(0.217), "217 ms");
        assert_eq!(time(0.999_9), "1.00 s");
        assert_eq!(time(11.353), "11.4 s");
        assert_eq!(time(0.0), "0.00 µs");
    }

    #[test]
    fn counts_have_commas_between_thousands() {
        assert_eq!(count(7), "7");
        assert_eq!(count(999), "999");
        assert_eq!(count(10_000), "10,000");
        assert_eq!(count(1_234_567), "1,234,567");
    }

    #[test]
    fn durations_are_human_or_plain_seconds() {
        assert_eq!(parse_time("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_time("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_time("30"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_time("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["", "0", "0s", "-1", "nan", "inf", "1e300", "soon"] {
            assert!(parse_time(bad).is_err(), "{bad:?} was taken");
        }
    }
}
