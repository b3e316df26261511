//! The rules of this repository that no compiler and no lint knows.

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Where the packages of this workspace are that have sources of their own.
const PACKAGES: [&str; 3] = ["crates", "lab", "benches"];

/// The longest source file, in lines.
const FILE_LINES: usize = 500;

/// Files that may be longer, how long, and why.
const LONG_FILES: [(&str, usize, &str); 4] = [
    ("crates/outboard/src/engine/gate.rs", 520, "all that is said to one mutex"),
    ("crates/outboard/src/ledger.rs", 820, "one table of states reads best in one place"),
    ("crates/outboard/src/engine/local/supervisor.rs", 720, "all that one thread does"),
    ("crates/outboard/src/engine/local/link.rs", 640, "all that one mutex of a worker guards"),
];

/// The longest function, in lines.
const FUNCTION_LINES: usize = 80;

/// The longest ARCHITECTURE.md, in lines: it is there to be read in one go.
const ARCHITECTURE_LINES: usize = 200;

/// The modules that may contain unsafe code; each argues for it.
const UNSAFE_FILES: [&str; 5] = [
    "crates/outboard/src/closure.rs",
    "crates/outboard/src/engine/local/process.rs",
    "crates/outboard/src/handover.rs",
    "crates/outboard/src/mapping.rs",
    "crates/outboard/src/shared.rs",
];

/// Where the library may print: just before a process exits that cannot go on.
const PRINTING_FILES: [&str; 4] = [
    "crates/outboard/src/engine/dask/plugin/beside.rs",
    "crates/outboard/src/engine/dask/worker/mod.rs",
    "crates/outboard/src/engine/local/mod.rs",
    "crates/outboard/src/worker.rs",
];

/// What no file may say: where it was written, and hosts that only a package
/// manager needs to know. Each is in two parts, so that this file may stay.
const FORBIDDEN: [[&str; 2]; 6] = [
    ["/wo", "rk/"],
    ["ses", "sion"],
    ["index.cra", "tes.io"],
    ["static.cra", "tes.io"],
    ["rust-lang/cra", "tes.io-index"],
    ["pypi", ".org"],
];

/// Files that may say one of those words all the same, and why.
const FORBIDDEN_BUT: [(&str, &str, &str); 1] = [(
    "crates/outboard/tests/api/local/isolation.rs",
    concat!("ses", "sion"),
    "what POSIX calls the parent of process groups",
)];

/// Words that have another word here (ARCHITECTURE.md has the list), so that
/// one idea has one name. Left out are those that English needs as well.
const OTHER_WORDS: [&str; 25] = [
    "abort",
    "agent",
    "backend",
    "customer",
    "dispatcher",
    "driver",
    "enqueue",
    "executor",
    "expiry",
    "farm",
    "fleet",
    "handler",
    "info",
    "invocation",
    "job",
    "manager",
    "node",
    "packet",
    "procedure",
    "promise",
    "runner",
    "spawn",
    "stats",
    "token",
    "ttl",
];

#[test]
fn the_readmes_example_is_the_one_that_is_compiled() {
    let readme = read("README.md");
    let shown = readme.split_once("```rust,no_run\n").expect("README.md has an example").1;
    let shown = shown.split_once("```").expect("the example ends").0;
    let file = read("crates/outboard/examples/axum.rs");
    let code: Vec<&str> = file.lines().skip_while(|line| line.starts_with("//!")).collect();
    assert_eq!(shown.trim(), code.join("\n").trim(), "README.md differs from examples/axum.rs");
}

#[test]
fn the_readme_says_what_each_engine_cannot_promise() {
    let suite = read("crates/outboard/tests/api/conformance/mod.rs");
    let readme = one_line(&read("README.md"));
    for list in ["const EXCEPTIONS", "const CONDITIONS"] {
        let list = suite.split_once(list).expect("the suite has its list").1;
        let list = list.split_once("];").expect("the list ends").0;
        for reason in list.split('"').skip(1).step_by(2).filter(|text| text.contains(' ')) {
            let reason = one_line(&reason.replace('\\', " "));
            assert!(readme.contains(&reason), "README.md does not say: {reason}");
        }
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let root = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"];
    let root = root.map(|document| Path::new(ROOT).join(document));
    let chapters = files(Path::new(ROOT).join("docs")).into_iter();
    let chapters = chapters.filter(|file| file.extension().is_some_and(|it| it == "md"));
    for document in root.into_iter().chain(chapters) {
        let place = document.parent().expect("a file is in a directory");
        let text = fs::read_to_string(&document).expect("documents can be read");
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap_or_default();
            let inside = !target.is_empty() && !target.contains("://");
            let exists = place.join(target).exists();
            assert!(exists || !inside, "{}: {target} does not exist", document.display());
        }
    }
}

#[test]
fn architecture_is_short_and_maps_every_file() {
    let lines = read("ARCHITECTURE.md").lines().count();
    assert!(lines <= ARCHITECTURE_LINES, "ARCHITECTURE.md has {lines} lines");
    let text = architecture();
    for directory in
        ["crates/outboard/src", "crates/outboard-macros/src", "crates/outboard-axum/src"]
    {
        for file in sources(directory) {
            let name = file.strip_prefix(directory).expect("found there").trim_start_matches('/');
            assert!(text.contains(&format!("`{name}`")), "ARCHITECTURE.md does not map {file}");
        }
    }
}

#[test]
fn architecture_maps_nothing_that_is_gone() {
    let text = architecture();
    let places = ["", "crates/outboard", "crates/outboard/src", "crates/outboard-macros/src"];
    let programs =
        ["crates/outboard-axum/src", "crates/outboard-cli/src", "lab/src", "benches/src"];
    let places = places.into_iter().chain(programs);
    let exists =
        |name: &str| places.clone().any(|place| Path::new(ROOT).join(place).join(name).exists());
    for name in text.split('`').skip(1).step_by(2).filter(|name| name.ends_with(".rs")) {
        assert!(exists(name), "ARCHITECTURE.md maps {name}, which does not exist");
    }
}

#[test]
fn no_file_says_where_it_was_written() {
    let words = FORBIDDEN.map(|halves| halves.concat());
    for file in files(ROOT).into_iter().filter(|file| !file.ends_with("Cargo.lock")) {
        let bytes = fs::read(&file).expect("files can be read");
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        for word in words.iter().filter(|word| text.contains(*word)) {
            let may = |(name, but, _): &(&str, &str, &str)| file.ends_with(name) && but == word;
            assert!(FORBIDDEN_BUT.iter().any(may), "{} says `{word}`", file.display());
        }
    }
}

#[test]
fn public_names_are_made_of_the_words_of_this_project() {
    for file in sources("crates/outboard/src") {
        for (number, line) in numbered(&read(&file)) {
            let Some(name) = public_name(line) else { continue };
            for word in words(name) {
                let known = !OTHER_WORDS.contains(&word.trim_end_matches('s'));
                let known = known && !OTHER_WORDS.contains(&word.as_str());
                assert!(known, "{file}:{number}: `{name}`: there is another word for {word}");
            }
        }
    }
}

#[test]
fn every_source_file_opens_with_what_it_is_for() {
    for file in all_sources() {
        assert!(read(&file).starts_with("//! "), "{file} does not open with `//! `");
    }
}

#[test]
fn source_files_are_not_long() {
    for file in all_sources() {
        let lines = read(&file).lines().count();
        let exception = LONG_FILES.iter().find(|(name, ..)| *name == file);
        let limit = exception.map_or(FILE_LINES, |(_, limit, _)| *limit);
        assert!(lines <= limit, "{file} has {lines} lines: more than {limit}");
        let needed = exception.is_none() || lines > FILE_LINES;
        assert!(needed, "{file} has {lines} lines and needs no exception any more");
    }
}

#[test]
fn functions_are_not_long() {
    for file in all_sources() {
        for (number, lines) in functions(&read(&file)) {
            assert!(lines <= FUNCTION_LINES, "{file}:{number}: a function of {lines} lines");
        }
    }
}

#[test]
fn unsafe_code_stays_in_the_modules_that_own_it() {
    // The lint denies it everywhere else, so a file with unsafe code names the lint.
    let naming = |file: &String| read(file).contains("unsafe_code");
    let mut owners: Vec<String> = all_sources().into_iter().filter(naming).collect();
    owners.sort();
    assert_eq!(owners, UNSAFE_FILES);
}

#[test]
fn lints_are_expected_with_a_reason_and_never_allowed() {
    for file in
        PACKAGES.into_iter().flat_map(rust_files).filter(|file| !file.contains("tests/macros/"))
    {
        for (number, line) in numbered(&read(&file)) {
            let bare = line.trim_start().starts_with("#[allow(");
            let bare = bare || line.trim_start().starts_with("#![allow(");
            // What a macro writes for users is judged in their crates.
            let written = file.starts_with("crates/outboard-macros/src/");
            assert!(!bare || written, "{file}:{number}: use #[expect(.., reason = \"..\")]");
        }
    }
}

#[test]
fn the_library_prints_only_before_it_exits() {
    let macros = ["print!(", "println!(", "eprint!(", "eprintln!(", "dbg!("];
    for file in sources("crates/outboard/src") {
        for (number, line) in numbered(&read(&file)) {
            let code = !line.trim_start().starts_with("//");
            let prints = code && macros.iter().any(|name| line.contains(name));
            let place = PRINTING_FILES.contains(&file.as_str());
            assert!(!prints || place, "{file}:{number}: the library prints");
        }
    }
}

#[cfg(unix)]
#[test]
fn scripts_can_be_executed() {
    use std::os::unix::fs::PermissionsExt;
    for directory in ["script", ".ci"] {
        for file in files(Path::new(ROOT).join(directory)) {
            let mode = file.metadata().expect("it was just listed").permissions().mode();
            assert!(mode & 0o111 == 0o111, "{} is not executable", file.display());
            let text = fs::read_to_string(&file).expect("scripts are text");
            assert!(text.starts_with("#!/usr/bin/env bash\n"), "{}: no bash", file.display());
        }
    }
}

/// A file's text, by its path from the root.
fn read(file: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A text with one space wherever there was space.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines())
}

/// ARCHITECTURE.md, with the chapters about engines.
fn architecture() -> String {
    let chapters = ["docs/local.md", "docs/dask.md", "docs/status.md", "docs/web.md"].map(read);
    read("ARCHITECTURE.md") + &chapters.concat()
}

/// All files below a directory, but for what is built or belongs to git.
fn files(directory: impl AsRef<Path>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("directories can be listed") {
        let path = entry.expect("directories can be listed").path();
        let name = path.file_name().unwrap_or_default().to_owned();
        // In a linked work tree `.git` is a file.
        if name == "target" || name == ".git" {
            continue;
        }
        if path.is_dir() {
            found.extend(files(path));
        } else {
            found.push(path);
        }
    }
    found
}

/// The Rust files below a directory, by their paths from the root.
fn rust_files(directory: &str) -> Vec<String> {
    let below = files(Path::new(ROOT).join(directory)).into_iter();
    let names = below.map(|path| {
        let path = path.strip_prefix(ROOT).expect("found below the root");
        path.to_str().expect("our names are ASCII").to_owned()
    });
    names.filter(|name| name.ends_with(".rs")).collect()
}

/// Those of them that are a crate's own, not its tests or examples.
fn sources(directory: &str) -> Vec<String> {
    rust_files(directory).into_iter().filter(|name| name.contains("/src/")).collect()
}

/// Those of all packages.
fn all_sources() -> Vec<String> {
    PACKAGES.into_iter().flat_map(sources).collect()
}

/// Where each function begins, and how many lines it has. Formatted code ends
/// a function with a brace as far to the right as its beginning.
fn functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate().filter(|(_, line)| is_function(line)) {
        let indent = line.len() - line.trim_start().len();
        let end = format!("{}}}", " ".repeat(indent));
        let below = &lines[start..];
        let declared = below.iter().position(|line| line.ends_with([';', '{', '}']));
        let is_open = declared.is_some_and(|at| below[at].ends_with('{'));
        if let Some(last) = below.iter().position(|line| *line == end).filter(|_| is_open) {
            found.push((start + 1, last + 1));
        }
    }
    found
}

fn is_function(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let qualifiers = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern"];
    let first = words.find(|word| !qualifiers.contains(word) && *word != "\"C\"");
    first == Some("fn")
}

/// The name that a line declares as public, if it does.
fn public_name(line: &str) -> Option<&str> {
    let declared = line.trim_start().strip_prefix("pub ")?;
    let keywords = ["async", "const", "enum", "fn", "mod", "static", "struct", "trait", "type"];
    let name = declared.split(' ').find(|word| !keywords.contains(word) && *word != "unsafe")?;
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    Some(&name[..end]).filter(|name| *name != "use")
}

/// The words of a name, in lower case: of `TaskFuture` and of `task_future`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in name.chars() {
        if letter == '_' || letter.is_uppercase() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| letter != '_') {
            word.extend(letter.to_lowercase());
        }
    }
    words
}

#[test]
fn functions_are_measured_as_formatted() {
    let text = "impl A {\n    fn one() {}\n\n    fn declared(\n        a: u8,\n    );\n\n    \
                pub(crate) async fn three(\n        a: u8,\n    ) -> u8\n    where\n        \
                A: B,\n    {\n        a\n    }\n}\n";
    assert_eq!(functions(text), [(8, 8)]);
}

#[test]
fn names_are_taken_apart() {
    assert_eq!(public_name("    pub fn scale_to<T>(n: T) {"), Some("scale_to"));
    assert_eq!(public_name("    pub queue_time: Duration,"), Some("queue_time"));
    assert_eq!(public_name("pub(crate) fn hidden() {"), None);
    assert_eq!(public_name("pub use x::y;"), None);
    assert_eq!(words("WorkerSnapshot")[1..], ["worker", "snapshot"]);
    assert_eq!(words("run_time"), ["run", "time"]);
}
