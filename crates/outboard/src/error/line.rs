//! What others say, in one line of a log.

use std::fmt::{self, Write};

/// Writes text without what would begin another line, move a terminal's cursor or turn the
/// direction of writing. Each such character is escaped, as in Rust.
pub(super) fn write_line(f: &mut fmt::Formatter<'_>, text: fmt::Arguments<'_>) -> fmt::Result {
    Line(f).write_fmt(text)
}

struct Line<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Line<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_unfit) {
            let (before, after) = rest.split_at(at);
            let mut letters = after.chars();
            let unfit = letters.next().into_iter().flat_map(char::escape_default);
            self.0.write_str(before)?;
            unfit.into_iter().try_for_each(|letter| self.0.write_char(letter))?;
            rest = letters.as_str();
        }
        self.0.write_str(rest)
    }
}

fn is_unfit(letter: char) -> bool {
    let breaks_or_turns = ['\u{2028}'..='\u{202e}', '\u{2066}'..='\u{2069}'];
    letter.is_control() || breaks_or_turns.iter().any(|range| range.contains(&letter))
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::write_line;

    struct Shown(&'static str);

    impl fmt::Display for Shown {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write_line(f, format_args!("says {}", self.0))
        }
    }

    #[test]
    fn what_is_no_letter_of_one_line_is_escaped() {
        for (said, shown) in [
            ("käse ✓ \\n", "says käse ✓ \\n"),
            ("one\r\nERROR two", "says one\\r\\nERROR two"),
            ("\x1b[2J\x07\u{9b}", "says \\u{1b}[2J\\u{7}\\u{9b}"),
            ("\u{2028}a\u{202e}b\u{2069}", "says \\u{2028}a\\u{202e}b\\u{2069}"),
            ("", "says "),
        ] {
            let line = Shown(said).to_string();
            assert_eq!(line, shown);
            assert!(!line.contains(|letter: char| letter.is_control()));
        }
    }
}
