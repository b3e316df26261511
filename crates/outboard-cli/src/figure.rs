//! Times as people read them: three digits and a unit.

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
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
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
    use super::{count, time};

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
}
