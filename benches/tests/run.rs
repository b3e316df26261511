//! The programs run, briefly; what they measure is not judged.

use std::process::Command;

#[test]
fn watch_cost_compares_with_and_without() {
    for url in ["local://?workers=1", "inline://?workers=1"] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_watch_cost"));
        let output = program.args([url, "1"]).output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        assert!(text.contains(" for a task, ") && text.contains(" with a watch: "), "{text}");
    }
}
