//! Code as the page shows it: cut out of the very sources that were compiled.

/// The sources that the page shows parts of.
const SOURCES: [(&str, &str); 7] = [
    ("tasks.rs", include_str!("../tasks.rs")),
    ("site/pages.rs", include_str!("../site/pages.rs")),
    ("site/before.rs", include_str!("../site/before.rs")),
    ("site/threads.rs", include_str!("../site/threads.rs")),
    ("site/after.rs", include_str!("../site/after.rs")),
    ("live/job.rs", include_str!("job.rs")),
    ("tour/roundtrip.rs", include_str!("../tour/roundtrip.rs")),
];

/// One or more functions of a source.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    /// The source's path below `src`.
    pub(super) file: &'static str,
    pub(super) code: String,
}

/// The functions of those names, as formatted.
///
/// # Panics
///
/// If there is no such source or function; a test makes every listing.
pub(super) fn listing(file: &'static str, names: &[&str]) -> Listing {
    let found = SOURCES.iter().find(|(name, _)| *name == file);
    let (_, text) = found.unwrap_or_else(|| panic!("no source {file} to show"));
    let functions = names.iter().map(|name| {
        function(text, name).unwrap_or_else(|| panic!("no function {name} in {file} to show"))
    });
    Listing { file, code: functions.collect::<Vec<_>>().join("\n\n") }
}

/// A function outside of any block, with the attributes just before it.
fn function(text: &str, name: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let opens = |line: &&str| {
        let signature = line.split_once(&format!("fn {name}("));
        signature.is_some_and(|(before, _)| before.is_empty() || before.ends_with(' '))
            && !line.starts_with([' ', '/'])
    };
    let at = lines.iter().position(opens)?;
    let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#[")).count();
    let end = at + lines[at..].iter().position(|line| *line == "}")?;
    Some(lines[at - attributes..=end].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::function;

    #[test]
    fn a_function_is_cut_out_with_its_attributes() {
        let text = "/// fn one() {\nmod a;\n\n/// Docs.\n#[task]\npub(crate) fn one(n: u64) {\n    \
                    fn two() {\n    }\n}\n\nasync fn two() {\n}\n";
        let one = "#[task]\npub(crate) fn one(n: u64) {\n    fn two() {\n    }\n}";
        assert_eq!(function(text, "one").as_deref(), Some(one));
        assert_eq!(function(text, "two").as_deref(), Some("async fn two() {\n}"));
        assert_eq!(function(text, "three"), None);
    }
}
