//! What users read: README, the guide, rustdoc, and sentences in the code. Short
//! sentences, links that lead somewhere, examples that are compiled.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The guide's chapters, below the root.
const GUIDE: &str = "docs/book/src";

/// README.md is two pages.
const README_LINES: usize = 170;
const README_WORDS: usize = 1700;

/// That of an example is one screen.
const EXAMPLES_README_LINES: usize = 30;

/// A sentence with more words has two ideas.
const SENTENCE_WORDS: usize = 25;

/// How the longer ones begin that there are all the same. This list only gets shorter.
const LONG: &str = "crates/outboard/tests/long-sentences.txt";

#[test]
fn the_readme_is_two_pages() {
    let text = read("README.md");
    let (lines, words) = (text.lines().count(), text.split_whitespace().count());
    assert!(lines <= README_LINES, "README.md has {lines} lines: at most {README_LINES}");
    assert!(words <= README_WORDS, "README.md has {words} words: at most {README_WORDS}");
}

#[test]
fn each_example_with_a_page_has_a_readme_of_one_screen() {
    let pages = files("examples", "rs").into_iter().filter(|file| file.ends_with("/tests/page.rs"));
    let expected = pages.map(|file| file.replace("tests/page.rs", "README.md"));
    assert_eq!(readmes_of_examples().into_iter().collect::<BTreeSet<_>>(), expected.collect());
    for document in readmes_of_examples() {
        let lines = read(&document).lines().count();
        assert!(lines <= EXAMPLES_README_LINES, "{document} has {lines} lines");
    }
}

#[test]
fn links_lead_somewhere() {
    for document in documents() {
        let text = without_code(&read(&document));
        let place = Path::new(ROOT).join(&document);
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap_or_default();
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            if file.contains("://") || link.contains("::") {
                continue;
            }
            let target = match file {
                "" => place.clone(),
                file => place.parent().expect("it is in a directory").join(file),
            };
            assert!(target.exists(), "{document}: {link} does not exist");
            if heading.is_empty() {
                continue;
            }
            let there = fs::read_to_string(&target).expect("a document is text");
            let mut titles = there.lines().filter(|line| line.starts_with('#')).map(anchor);
            assert!(titles.any(|title| title == heading), "{document}: {link} has no heading");
        }
    }
}

#[test]
fn the_guide_lists_all_chapters_and_compiles_their_code() {
    let summary = read(&format!("{GUIDE}/SUMMARY.md"));
    let compiled = ["outboard", "outboard-axum"];
    let compiled = compiled.map(|name| read(&format!("crates/{name}/src/lib.rs"))).concat();
    for chapter in files(GUIDE, "md").iter().filter(|name| !name.ends_with("SUMMARY.md")) {
        let name = chapter.rsplit('/').next().unwrap_or_default();
        assert!(summary.contains(&format!("({name})")), "SUMMARY.md does not list {name}");
        let text = read(chapter);
        let has_code = text.lines().any(|line| line.starts_with("```rust"));
        let included = compiled.contains(&format!("{GUIDE}/{name}"));
        assert!(included || !has_code, "no doctest includes {chapter}");
        let fences: Vec<_> = text.lines().filter(|line| line.starts_with("```")).collect();
        let unnamed = fences.iter().step_by(2).any(|fence| *fence == "```");
        assert!(!unnamed, "{chapter}: a code block does not say its language");
    }
}

#[test]
fn versions_in_the_guide_are_those_of_the_next_release() {
    let manifest = read("Cargo.toml");
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = \""));
    let version = version.and_then(|rest| rest.rsplit_once('.')).expect("it has a version").0;
    let mut seen = 0;
    for chapter in files(GUIDE, "md") {
        let text = read(&chapter);
        let lines =
            text.lines().filter(|line| line.starts_with("outboard") && line.contains(" = "));
        for line in lines.filter(|line| !line.starts_with("outboard/")) {
            let wanted = format!("\"{version}\"");
            assert!(line.contains(&wanted), "{chapter}: `{line}` is not of {version}");
            seen += 1;
        }
    }
    assert!(seen >= 3, "the guide shows {seen} dependencies");
}

#[test]
fn the_guides_tests_are_those_that_are_run() {
    let chapter = read(&format!("{GUIDE}/testing.md"));
    let shown = chapter.split("```").nth(1).expect("the chapter begins with them");
    let run = read("crates/outboard/tests/guide.rs");
    let run = run.lines().skip_while(|line| line.starts_with("//!")).collect::<Vec<_>>();
    let shown = shown.trim_start_matches("rust\n").trim();
    assert_eq!(shown, run.join("\n").trim(), "testing.md differs from tests/guide.rs");
}

#[test]
fn the_units_to_copy_are_those_of_the_guide() {
    let block = |chapter: &str, language: &str| {
        let text = read(&format!("{GUIDE}/{chapter}"));
        let begin = text.split(&format!("```{language}\n")).nth(1).expect("it has a block");
        begin.split("```").next().unwrap_or_default().to_owned()
    };
    assert_eq!(block("systemd.md", "ini"), read("deploy/server.service"));
    // The guide shows a part, without what every deployment has.
    let whole = read("deploy/kubernetes.yaml");
    for key in block("containers.md", "yaml").lines() {
        let key = key.trim().trim_start_matches("- ").split(':').next().unwrap_or_default();
        assert!(whole.contains(&format!("{key}:")), "deploy/kubernetes.yaml lacks {key}");
    }
}

#[test]
fn sentences_are_short() {
    let (mut long, mut new) = (BTreeSet::new(), String::new());
    let listed = read(LONG);
    for (file, sentences) in corpora().values().flatten() {
        for sentence in sentences.iter().filter(|it| words(it) > SENTENCE_WORDS) {
            let begin: Vec<_> = sentence.split_whitespace().take(8).collect();
            let begin = begin.join(" ");
            if !listed.lines().any(|line| line == begin) {
                new += &format!("{file}:\n{sentence}\n");
            }
            long.insert(begin);
        }
    }
    assert!(new.is_empty(), "more than {SENTENCE_WORDS} words. Say it in two:\n{new}");
    let list: String = long.iter().map(|begin| begin.to_owned() + "\n").collect();
    if list != listed && std::env::var_os("OUTBOARD_LONG_SENTENCES").is_some() {
        return fs::write(Path::new(ROOT).join(LONG), list).expect("the list can be written");
    }
    assert!(
        list == listed,
        "{LONG} lists sentences that are gone, which is good: write it again with \
         OUTBOARD_LONG_SENTENCES=1 cargo test -p outboard --test prose"
    );
}

/// `cargo test -p outboard --test prose figures -- --nocapture` shows them.
#[test]
fn figures_of_what_there_is_to_read() {
    for (name, texts) in corpora() {
        // Cells and headings of a word or two would hide what is long.
        let lengths = texts.values().flatten().map(|it| words(it));
        let mut lengths: Vec<usize> = lengths.filter(|words| *words > 3).collect();
        lengths.sort_unstable();
        let at = |part: usize| lengths.get(lengths.len() * part / 100).copied().unwrap_or(0);
        println!(
            "{name:8} {:5} sentences, median {:2} words, 90th percentile {:2}, longest {}",
            lengths.len(),
            at(50),
            at(90),
            lengths.last().copied().unwrap_or(0)
        );
        assert!(lengths.len() > 50, "{name} is nearly empty");
    }
}

/// Sentences by file, of each thing that users read.
fn corpora() -> BTreeMap<&'static str, BTreeMap<String, Vec<String>>> {
    let of = |files: Vec<String>, take: fn(&str) -> Vec<String>| {
        files.into_iter().map(|file| (file.clone(), take(&read(&file)))).collect()
    };
    let sources = || {
        let mut all = files("crates", "rs");
        all.retain(|file| file.contains("/src/") && !file.ends_with("/tests.rs"));
        all
    };
    let programs = || [sources(), files("lab/src", "rs")].concat();
    BTreeMap::from([
        ("readme", of(vec!["README.md".into()], sentences)),
        ("guide", of([files(GUIDE, "md"), readmes_beside()].concat(), sentences)),
        ("rustdoc", of(sources(), |code| sentences(&documentation(code)))),
        ("texts", of(programs(), texts)),
    ])
}

/// All that has links: documents of the root, the guide, and the generated tables.
fn documents() -> Vec<String> {
    let root = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"];
    let mut all: Vec<String> = root.map(String::from).into();
    all.extend(files("docs", "md"));
    all.extend(files("deploy", "md"));
    all.extend(files("crates", "md").into_iter().filter(|file| file.ends_with("README.md")));
    all.push("bench/README.md".into());
    all.extend(readmes_beside());
    all
}

/// Those of the servers to copy from, and of the notebooks.
fn readmes_beside() -> Vec<String> {
    [readmes_of_examples(), vec!["notebook/README.md".into()]].concat()
}

/// Those of the servers to copy from, but not what is installed beside them.
fn readmes_of_examples() -> Vec<String> {
    let mut all = files("examples", "md");
    all.retain(|file| file.ends_with("README.md") && !file.contains("/."));
    all
}

/// The doc comments of a source file, as Markdown.
fn documentation(code: &str) -> String {
    let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let line = |line: &str| {
        let line = line.trim_start();
        let text = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).unwrap_or("");
        text.to_owned() + "\n"
    };
    code.lines().map(line).collect()
}

/// The sentences in a source file's strings, but for what only its authors read.
fn texts(code: &str) -> Vec<String> {
    let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code: String = (code.lines().filter(|line| !line.trim_start().starts_with("//")))
        .map(|line| line.replace("'\"'", "' '").replace("\\\"", "'") + "\n")
        .collect();
    let mut found = Vec::new();
    let mut before = "";
    for (at, part) in code.split('"').enumerate() {
        let authors = ["expect(", "reason = ", "assert!(", "panic!("];
        if at % 2 == 1 && !authors.iter().any(|end| before.trim_end().ends_with(end.trim_end())) {
            let text = part.replace("\\\n", " ").split_whitespace().collect::<Vec<_>>().join(" ");
            found.extend(split(&text).into_iter().filter(|sentence| words(sentence) > 3));
        }
        before = part;
    }
    found
}

/// The sentences of a document: not its code; items of lists, cells and headings alone.
fn sentences(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut paragraph = String::new();
    for line in without_code(text).lines().chain([""]) {
        let line = line.trim();
        if line.starts_with('[') && line.contains("]: http") {
            continue;
        }
        let begins = ["#", "|", "- ", "* ", "<!--", ">"].iter().any(|it| line.starts_with(it))
            || line.split_once(". ").is_some_and(|(it, _)| it.parse::<u8>().is_ok());
        if begins || line.is_empty() {
            found.extend(split(&std::mem::take(&mut paragraph)));
        }
        if line.starts_with('|') {
            found.extend(line.split('|').flat_map(split));
        } else {
            paragraph += line;
            paragraph.push(' ');
        }
    }
    found.retain(|sentence| words(sentence) > 0);
    found
}

/// A text at the ends of its sentences; code is one word, a link is its text.
fn split(text: &str) -> Vec<String> {
    let mut plain = String::new();
    for (at, part) in text.split('`').enumerate() {
        plain += if at % 2 == 1 { "code" } else { part };
    }
    while let Some((before, rest)) = plain.split_once("](") {
        let after = rest.split_once(')').map_or("", |(_, after)| after);
        plain = format!("{}{after}", before.replace('[', ""));
    }
    let ends = [". ", ".** ", "! ", "? "];
    let mut texts = vec![plain + " "];
    for end in ends {
        texts = texts.iter().flat_map(|it| it.split(end)).map(|it| it.to_owned() + " ").collect();
    }
    texts
}

fn words(sentence: &str) -> usize {
    sentence.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count()
}

/// A document without its blocks of code.
fn without_code(text: &str) -> String {
    let mut inside = false;
    let mut keep = |line: &&str| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    };
    text.lines().filter(&mut keep).map(|line| line.to_owned() + "\n").collect()
}

/// A heading's anchor, as GitHub and mdBook make it.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().replace(' ', "-")
}

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The files below a directory with an extension, by their paths from the root, sorted.
fn files(directory: &str, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut directories = vec![PathBuf::from(directory)];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(Path::new(ROOT).join(&directory)).expect("it can be listed");
        for entry in entries {
            let entry = entry.expect("it can be listed");
            let path = directory.join(entry.file_name());
            if entry.path().is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|it| it == extension) {
                found.push(path.to_str().expect("our names are ASCII").to_owned());
            }
        }
    }
    found.retain(|name| !name.contains("/target/"));
    found.sort();
    found
}

#[test]
fn sentences_are_found() {
    let text = "# A title\n\nOne. Two `code. x` [link](a.md)\nends here!\n\n- three\n- four: five\n\
                | a | b c |\n|---|---|\n```rust\nno code\n```\n";
    let found: Vec<String> = sentences(text)
        .iter()
        .map(|it| it.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        found,
        ["# A title", "One", "Two code link ends here", "- three", "- four: five", "a", "b c"]
    );
    assert_eq!(anchor("## When the browser leaves"), "when-the-browser-leaves");
}
