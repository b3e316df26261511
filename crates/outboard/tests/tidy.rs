//! The rules of this repository that no compiler and no lint knows.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The library's sources.
const LIBRARY: &str = "crates/outboard/src";

/// Where the packages of this workspace are that have sources of their own.
const PACKAGES: [&str; 4] = ["crates", "lab", "benches", "notebook"];

/// The longest source file, in lines: one thing in one file is better than four shreds.
const FILE_LINES: usize = 800;

/// The longest function, in lines.
const FUNCTION_LINES: usize = 80;

/// The longest ARCHITECTURE.md, in lines: it is there to be read in one go.
const ARCHITECTURE_LINES: usize = 200;

/// The modules that may contain unsafe code; each argues for it.
const UNSAFE_FILES: [&str; 19] = [
    "crates/outboard/src/local/process.rs",
    "crates/outboard/src/local/process/end.rs",
    "crates/outboard/src/local/process/environment.rs",
    "crates/outboard/src/local/process/every_thread.rs",
    "crates/outboard/src/local/process/reaping.rs",
    "crates/outboard/src/local/process/signals.rs",
    "crates/outboard/src/local/shm/handover.rs",
    "crates/outboard/src/local/shm/mapping.rs",
    "crates/outboard/src/local/shm/page.rs",
    "crates/outboard/src/os/linux/memory.rs",
    "crates/outboard/src/os/linux/process.rs",
    "crates/outboard/src/os/portable/memory.rs",
    "crates/outboard/src/os/portable/process.rs",
    "crates/outboard/src/os/portable/usage.rs",
    "crates/outboard/src/task/closure.rs",
    "crates/outboard/src/task/fork/word.rs",
    "crates/outboard/src/value/codec/types.rs",
    "crates/outboard/src/value/room.rs",
    "lab/src/chaos/raw.rs",
];

/// Where an engine registers itself in a linker section, which counts as unsafe.
const REGISTERING_FILES: [&str; 3] = [
    "crates/outboard/src/engine/dask/mod.rs",
    "crates/outboard/src/engine/inline.rs",
    "crates/outboard/src/local/mod.rs",
];

/// Where the library may print: just before a process exits that cannot go on.
const PRINTING_FILES: [&str; 4] = [
    "crates/outboard/src/engine/dask/plugin/beside.rs",
    "crates/outboard/src/engine/dask/worker/mod.rs",
    "crates/outboard/src/local/server/mod.rs",
    "crates/outboard/src/local/worker/mod.rs",
];

/// What no file may say: where it was written, and hosts that only a package
/// manager needs to know. Each is in two parts, so that this file may say them.
const FORBIDDEN: [[&str; 2]; 5] = [
    ["/wo", "rk/"],
    ["index.cra", "tes.io"],
    ["static.cra", "tes.io"],
    ["rust-lang/cra", "tes.io-index"],
    ["pypi", ".org"],
];

/// The layers of the library, by folder or file below `crates/outboard/src`, and what
/// each may import besides itself. The longest name that fits counts.
const LAYERS: [(&str, &[&str]); 20] = [
    ("error", &[]),
    ("ids", &[]),
    ("offload", &[]),
    ("os", &[]),
    ("value", &["error", "offload", "os"]),
    ("task", &["error", "offload", "os", "value"]),
    ("trace", &["ids", "task"]),
    ("observe", &["error", "ids", "os", "task"]),
    ("sched", &["error", "ids", "observe", "task", "trace", "value"]),
    ("engine", &["error", "ids", "observe", "offload", "sched", "task", "trace", "value"]),
    ("local", &["engine"]),
    ("local/process", &["os"]),
    ("local/wire", &["error", "task", "value"]),
    ("local/program", &["local/wire", "os", "task"]),
    ("local/shm", &["local/wire", "os", "task", "value"]),
    (
        "local/worker",
        &[
            "error",
            "local/process",
            "local/program",
            "local/shm",
            "local/wire",
            "os",
            "task",
            "trace",
            "value",
        ],
    ),
    (
        "local/server",
        &[
            "engine",
            "error",
            "ids",
            "local/process",
            "local/program",
            "local/shm",
            "local/wire",
            "observe",
            "offload",
            "os",
            "task",
            "trace",
            "value",
        ],
    ),
    ("front", &["engine", "error", "ids", "observe", "offload", "sched", "task", "trace", "value"]),
    // Stays a module of this crate until what it needs is small enough to be an interface.
    (
        "engine/dask",
        &["engine", "error", "ids", "observe", "offload", "sched", "task", "trace", "value"],
    ),
    // What fuzzers and tests check.
    ("fuzz", &["engine", "engine/dask", "local", "value"]),
];

/// Arrows that the layers do not allow: which file, what it imports, and why. This list
/// only gets shorter.
const IMPORTED_ALL_THE_SAME: [(&str, &str, &str); 5] = [
    ("engine/dask/plugin/beside.rs", "front", "it submits to a client of `local`"),
    ("engine/dask/plugin/beside.rs", "local/process", "it dies with its parent, as a worker does"),
    ("engine/dask/worker/mod.rs", "front", "it submits to a client of `local`"),
    ("engine/dask/worker/stay.rs", "front", "it submits to a client of `local`"),
    ("engine/dask/worker/stay/talk.rs", "front", "it submits to a client of `local`"),
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
fn the_guide_says_what_each_engine_cannot_promise() {
    let suite = read("crates/outboard/tests/api/conformance/mod.rs");
    let guide = one_line(&read("docs/book/src/guarantees.md"));
    for list in ["const EXCEPTIONS", "const CONDITIONS"] {
        let list = suite.split_once(list).expect("the suite has its list").1;
        let list = list.split_once("];").expect("the list ends").0;
        for reason in list.split('"').skip(1).step_by(2).filter(|text| text.contains(' ')) {
            let reason = one_line(&reason.replace('\\', " "));
            assert!(guide.contains(&reason), "guarantees.md does not say: {reason}");
        }
    }
}

#[test]
fn architecture_is_short_and_maps_every_folder() {
    let text = read("ARCHITECTURE.md");
    let lines = text.lines().count();
    assert!(lines <= ARCHITECTURE_LINES, "ARCHITECTURE.md has {lines} lines");
    for (layer, _) in LAYERS {
        assert!(text.contains(&format!("`{layer}")), "ARCHITECTURE.md does not map {layer}");
    }
}

#[test]
fn architecture_names_nothing_that_is_gone() {
    let chapters = ["local", "dask", "pages"];
    let chapters = chapters.map(|name| read(&format!("docs/book/src/inside-{name}.md")));
    let text = read("ARCHITECTURE.md") + &chapters.concat();
    let places = ["", "crates/outboard", LIBRARY, "crates/outboard-macros/src"];
    let programs =
        ["crates/outboard-web/src", "crates/outboard-axum/src", "crates/outboard-actix/src"]
            .into_iter()
            .chain(["crates/outboard-cli/src", "lab/src", "benches/src"]);
    let places = places.into_iter().chain(programs);
    let exists =
        |name: &str| places.clone().any(|place| Path::new(ROOT).join(place).join(name).exists());
    for name in text.split('`').skip(1).step_by(2).filter(|name| name.ends_with(".rs")) {
        assert!(exists(name), "a document names {name}, which does not exist");
    }
}

#[test]
fn nobody_imports_from_a_layer_above() {
    let mut needed = Vec::new();
    for file in sources(LIBRARY) {
        let name = file.strip_prefix(LIBRARY).expect("found there").trim_start_matches('/');
        let Some((own, allowed)) = layer(name) else { continue };
        for path in imports(name, &read(&file)) {
            let Some((other, _)) = layer(&path) else {
                panic!("{file} imports {path}, which is in no layer: name the module that has it")
            };
            if other == own || allowed.contains(&other) {
                continue;
            }
            let excepted = |(from, what, _): &&(&str, &str, &str)| *from == name && *what == other;
            let Some(exception) = IMPORTED_ALL_THE_SAME.iter().find(excepted) else {
                panic!("{file}: `{own}` must not import `{path}` of `{other}`")
            };
            needed.push(exception);
        }
    }
    for exception in &IMPORTED_ALL_THE_SAME {
        assert!(needed.contains(&exception), "{exception:?} is needed no more");
    }
}

#[test]
fn no_more_than_six_files_import_each_other_in_a_circle() {
    let imports: HashMap<String, HashSet<String>> = sources(LIBRARY)
        .into_iter()
        .map(|file| {
            let name = file.strip_prefix(LIBRARY).expect("found there").trim_start_matches('/');
            let paths = imports(name, &read(&file)).into_iter();
            (name.to_owned(), paths.filter_map(|path| file_of(&path)).collect())
        })
        .collect();
    let reached = |from: &String| {
        let (mut seen, mut next) = (HashSet::new(), vec![from]);
        while let Some(file) = next.pop() {
            let of = imports.get(file).unwrap_or_else(|| panic!("{file} is no source"));
            next.extend(of.iter().filter(|file| seen.insert((*file).clone())));
        }
        seen
    };
    let reached: HashMap<&String, _> = imports.keys().map(|file| (file, reached(file))).collect();
    for (file, others) in &reached {
        let circle = others.iter().filter(|other| reached[other].contains(*file));
        let circle: Vec<_> = circle.collect();
        assert!(circle.len() <= 6, "a circle of {} files: {circle:?}", circle.len());
    }
}

#[test]
fn the_root_of_the_library_is_a_short_list() {
    let root = fs::read_dir(Path::new(ROOT).join(LIBRARY)).expect("it can be listed");
    assert!(root.count() <= 14, "more than 14 entries in {LIBRARY}");
}

#[test]
fn no_file_says_where_it_was_written() {
    let words = FORBIDDEN.map(|halves| halves.concat());
    for file in files(ROOT).into_iter().filter(|file| !file.ends_with("Cargo.lock")) {
        let bytes = fs::read(&file).expect("files can be read");
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        for word in &words {
            assert!(!text.contains(word.as_str()), "{} says `{word}`", file.display());
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
        assert!(lines <= FILE_LINES, "{file} has {lines} lines: more than {FILE_LINES}");
    }
}

#[test]
fn a_frameworks_example_is_a_page() {
    for file in [
        "crates/outboard/examples/axum.rs",
        "crates/outboard-actix/examples/actix.rs",
        "crates/outboard-web/examples/hyper.rs",
        "tests/frameworks/examples/poem.rs",
        "tests/frameworks/examples/tonic.rs",
        "examples/rocket/src/main.rs",
    ] {
        let lines = read(file).lines().count();
        assert!(lines <= 60, "{file} has {lines} lines");
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
    owners.retain(|file| !REGISTERING_FILES.contains(&file.as_str()));
    owners.sort();
    assert_eq!(owners, UNSAFE_FILES);
    for file in REGISTERING_FILES {
        assert_eq!(read(file).matches("unsafe_code").count(), 1, "{file} only registers");
    }
}

#[test]
fn lints_are_expected_with_a_reason_and_never_allowed() {
    for file in
        PACKAGES.into_iter().flat_map(rust_files).filter(|file| !file.contains("tests/cases/"))
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

/// The layer of a file or a path of modules, by its place below the library's root, and
/// what that may import.
fn layer(place: &str) -> Option<(&'static str, &'static [&'static str])> {
    let place = place.trim_end_matches(".rs").trim_end_matches("/mod");
    let fits = |(name, _): &&(&str, &[&str])| {
        place.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    LAYERS.iter().filter(fits).max_by_key(|(name, _)| name.len()).copied()
}

/// The paths of this crate that a file names outside of its tests and docs, as places
/// below the library's root.
fn imports(name: &str, text: &str) -> Vec<String> {
    if name == "lib.rs" || is_test(name) {
        return Vec::new();
    }
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let module = name.trim_end_matches(".rs").trim_end_matches("/mod");
    let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        // Of the user's crate, in a macro.
        if !code[..at].ends_with(['$', ':']) {
            found.push(path_at(&code[at + "crate::".len()..]));
        }
    }
    for (at, _) in code.match_indices("super::").filter(|(at, _)| !code[..*at].ends_with(':')) {
        let (mut rest, mut parent) = (&code[at..], module);
        while let Some(after) = rest.strip_prefix("super::") {
            (rest, parent) = (after, parent.rsplit_once('/').map_or("", |(parent, _)| parent));
        }
        found.push(format!("{parent}/{}", path_at(rest)).trim_matches('/').to_owned());
    }
    found
}

fn path_at(code: &str) -> String {
    let end = code.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    code[..end.unwrap_or(code.len())].trim_end_matches(':').replace("::", "/")
}

/// The file that has what a path of modules and items names, below the library's root.
fn file_of(path: &str) -> Option<String> {
    let mut place = path;
    loop {
        let files = [format!("{place}.rs"), format!("{place}/mod.rs")];
        let there = |file: &String| Path::new(ROOT).join(LIBRARY).join(file).exists();
        if let Some(file) = files.into_iter().find(there) {
            return Some(file);
        }
        place = place.rsplit_once('/')?.0;
    }
}

/// Whether a file is there for tests alone.
fn is_test(name: &str) -> bool {
    let tests = ["/tests.rs", "/nonsense.rs", "gate/model.rs", "gate/overload.rs"];
    tests.iter().any(|end| name.ends_with(end))
}

/// All files below a directory, but for what is built or belongs to git.
fn files(directory: impl AsRef<Path>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("directories can be listed") {
        let path = entry.expect("directories can be listed").path();
        let name = path.file_name().unwrap_or_default().to_owned();
        // In a linked work tree `.git` is a file; `.venv` is what an example installs.
        if name == "target" || name == ".git" || name == ".venv" {
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

#[test]
fn functions_are_measured_as_formatted() {
    let text = "impl A {\n    fn one() {}\n\n    fn declared(\n        a: u8,\n    );\n\n    \
                pub(crate) async fn three(\n        a: u8,\n    ) -> u8\n    where\n        \
                A: B,\n    {\n        a\n    }\n}\n";
    assert_eq!(functions(text), [(8, 8)]);
}

#[test]
fn imports_are_found_in_all_their_forms() {
    let text = "use crate::a::{b, c};\nuse super::d::E;\nfn f() { crate::g::h::i(); }\n\
                // crate::no\n$crate::no();\nuse super::super::x;\n#[cfg(test)]\nmod tests {\n\
                use crate::no;\n}\n";
    assert_eq!(imports("p/q/r.rs", text), ["a", "g/h/i", "p/q/d/E", "p/x"]);
}

#[test]
fn the_longest_layer_counts() {
    assert_eq!(layer("local/shm/page.rs").expect("a layer").0, "local/shm");
    assert_eq!(layer("local/mod.rs").expect("a layer").0, "local");
    assert_eq!(layer("engine/Gate").expect("a layer").0, "engine");
    assert_eq!(layer("engineer"), None);
}
