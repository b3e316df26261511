//! What axe-core finds wrong with a page for those who cannot see it, hear it
//! or use a mouse.

use std::fs;

use serde_json::Value;

use crate::Browser;

/// Where `script/bootstrap` puts it.
const AXE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/axe/axe.min.js");

/// Runs it on the page as it is now.
const RUN: &str = "
    const done = arguments[arguments.length - 1];
    axe.run(document, { resultTypes: ['violations'] })
        .then(({ violations }) => done({ violations }), error => done({ error: String(error) }));
";

/// A rule that a page breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule's name, such as `color-contrast`.
    pub rule: String,
    /// `minor`, `moderate`, `serious` or `critical`.
    pub impact: String,
    /// What is wrong, in a sentence.
    pub help: String,
    /// The elements, as HTML, and what is wrong with each.
    pub elements: Vec<String>,
}

impl Browser {
    /// The rules that the page breaks, as it is shown now.
    pub fn violations(&self) -> Vec<Violation> {
        let axe = fs::read_to_string(AXE)
            .unwrap_or_else(|error| panic!("no axe-core: run script/bootstrap ({AXE}: {error})"));
        self.script(&axe);
        let ran = self.runtime.block_on(self.web().execute_async(RUN, Vec::new()));
        let ran = ran.unwrap_or_else(|error| panic!("axe-core: {error}"));
        let found = ran.json()["violations"].as_array().cloned();
        found.unwrap_or_else(|| panic!("axe-core: {}", ran.json())).iter().map(violation).collect()
    }

    /// Panics, with all of them, if the page breaks a rule whose impact is
    /// serious or critical.
    pub fn assert_accessible(&self) {
        let grave = ["serious", "critical"];
        let mut found = self.violations();
        found.retain(|violation| grave.contains(&violation.impact.as_str()));
        assert!(found.is_empty(), "faults of accessibility: {found:#?}");
    }
}

fn violation(found: &Value) -> Violation {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let elements = found["nodes"].as_array().into_iter().flatten();
    let elements = elements
        .map(|element| format!("{}: {}", text(&element["html"]), text(&element["failureSummary"])));
    Violation {
        rule: text(&found["id"]),
        impact: text(&found["impact"]),
        help: text(&found["help"]),
        elements: elements.collect(),
    }
}
