//! What `#[task]` accepts, and how it refuses the rest: each error of the macro
//! is a product, kept beside its case as `.stderr`.

use std::path::PathBuf;

#[test]
fn what_task_accepts_and_refuses() {
    let cases = trybuild::TestCases::new();
    let files = std::fs::read_dir("tests/cases").unwrap().flatten().map(|entry| entry.path());
    let sources = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let passes = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("pass-"))
    };
    let (good, bad): (Vec<_>, Vec<_>) = sources.partition(passes);
    assert!(!good.is_empty() && !bad.is_empty());
    good.iter().for_each(|path| cases.pass(path));
    bad.iter().for_each(|path| cases.compile_fail(path));
}
