//! Times with three digits, as all that the cells show has them.

use std::time::Duration;

/// As `43.2 ms`.
pub(crate) fn time(took: Duration) -> String {
    let seconds = took.as_secs_f64();
    let (number, unit) = match seconds {
        0.0 => return "0".to_owned(),
        ..1e-3 => (seconds * 1e6, "µs"),
        ..1.0 => (seconds * 1e3, "ms"),
        _ => (seconds, "s"),
    };
    let digits = match number {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{number:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::time;

    #[test]
    fn times_have_three_digits() {
        let micros = [0, 412, 5_300, 43_210, 111_000, 3_210_000, 11_353_000];
        let shown = micros.map(|micros| time(Duration::from_micros(micros)));
        assert_eq!(shown, ["0", "412 µs", "5.30 ms", "43.2 ms", "111 ms", "3.21 s", "11.4 s"]);
    }
}
