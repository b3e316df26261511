//! Numbers, sizes and durations as text: `16`, `512MiB`, `1h30m`.

use std::time::Duration;

use bytesize::ByteSize;

/// Why a text is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    Unfit,
    /// It is one, but no number of this program can hold it.
    TooLarge,
}

/// More digits than this are no duration. `humantime` (2.4) panics where seconds
/// overflow by a carry; eleven digits of years are far below that.
const DURATION_DIGITS: usize = 11;

/// A whole number.
pub(crate) fn whole(text: &str) -> Result<u64, Unread> {
    text.parse().map_err(|_| match is_number(text) {
        true => Unread::TooLarge,
        false => Unread::Unfit,
    })
}

/// A number of bytes, with a unit or without.
pub(crate) fn size(text: &str) -> Result<u64, Unread> {
    if text.chars().all(|c| c.is_ascii_digit()) {
        return whole(text);
    }
    match text.parse::<ByteSize>() {
        // What is larger than a u64 is parsed as the largest one.
        Ok(ByteSize(u64::MAX)) => Err(Unread::TooLarge),
        Ok(ByteSize(bytes)) => Ok(bytes),
        Err(_) => Err(Unread::Unfit),
    }
}

/// A duration with units.
pub(crate) fn duration(text: &str) -> Result<Duration, Unread> {
    if text.chars().filter(char::is_ascii_digit).count() > DURATION_DIGITS {
        return Err(Unread::TooLarge);
    }
    humantime::parse_duration(text).map_err(|error| match error {
        humantime::DurationError::NumberOverflow => Unread::TooLarge,
        _ => Unread::Unfit,
    })
}

/// A number of units.
pub(crate) fn times(unit: Duration, number: u64) -> Result<Duration, Unread> {
    let nanos = unit.as_nanos().checked_mul(number.into()).ok_or(Unread::TooLarge)?;
    let seconds = u64::try_from(nanos / 1_000_000_000).map_err(|_| Unread::TooLarge)?;
    Ok(Duration::new(seconds, (nanos % 1_000_000_000) as u32))
}

/// A size as it is written: with the largest unit that leaves a whole number.
pub(crate) fn shown_size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.into_iter().find(|(bits, _)| bytes > 0 && bytes.is_multiple_of(1 << bits));
    unit.map_or_else(|| bytes.to_string(), |(bits, unit)| format!("{}{unit}", bytes >> bits))
}

/// A duration as it is written.
pub(crate) fn shown_duration(time: Duration) -> String {
    humantime::format_duration(time).to_string().replace(' ', "")
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Unread::{TooLarge, Unfit};
    use super::*;

    #[test]
    fn a_whole_number_has_digits_alone() {
        assert_eq!(whole("16"), Ok(16));
        assert_eq!(whole("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(whole("18446744073709551616"), Err(TooLarge));
        for text in ["", "many", "-1", "1.5", "1e3", " 1", "0x10", "1_000"] {
            assert_eq!(whole(text), Err(Unfit), "{text}");
        }
    }

    #[test]
    fn a_size_has_a_unit_or_is_bytes() {
        for (text, bytes) in [
            ("268435456", 256 << 20),
            ("512MiB", 512 << 20),
            ("512mib", 512 << 20),
            ("2GB", 2_000_000_000),
            ("1.5GiB", 3 << 29),
            ("64k", 64_000),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["18446744073709551616", "99999999TiB", "1.5e0", "16EiB", "99999999.5EiB"] {
            let expected = if text.contains('e') { Unfit } else { TooLarge };
            assert_eq!(size(text), Err(expected), "{text}");
        }
        for text in ["", "-1", "12x", "MiB", "1.2.3MiB", "1 000", "12MiBs", "∞"] {
            assert_eq!(size(text), Err(Unfit), "{text}");
        }
    }

    #[test]
    fn a_duration_has_units() {
        for (text, millis) in [
            ("5m", 300_000),
            ("30s", 30_000),
            ("250ms", 250),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "-1s", "s", "5x", "1s-2s", "soon"] {
            assert_eq!(duration(text), Err(Unfit), "{text}");
        }
        for text in ["18446744073709551615s1000ms", "18446744073709551616s", "99999999999999y"] {
            assert_eq!(duration(text), Err(TooLarge), "{text}");
        }
    }

    #[test]
    fn units_are_multiplied_without_a_clamp() {
        let milli = Duration::from_millis(1);
        assert_eq!(times(milli, 1_500), Ok(Duration::from_millis(1_500)));
        assert_eq!(times(Duration::from_secs(1), u64::MAX), Ok(Duration::from_secs(u64::MAX)));
        assert_eq!(times(Duration::from_secs(2), u64::MAX), Err(TooLarge));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}|[0-9.]{0,25}[a-zA-Zµ]{0,3}[0-9.]{0,25}[a-z]{0,3}") {
            let _ = (whole(&text), size(&text), duration(&text));
        }

        #[test]
        fn a_size_is_read_as_it_is_shown(bytes: u64, bits in 0..64_u32) {
            let bytes = bytes >> bits << (bits / 2);
            prop_assert_eq!(size(&shown_size(bytes)), Ok(bytes));
        }
    }
}
