//! Lists the public API of the crates that are published: writes it, or compares it
//! with what was written.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, bail, ensure};

/// The root of the workspace.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The crates whose API is listed.
const CRATES: [&str; 5] =
    ["outboard", "outboard-web", "outboard-axum", "outboard-actix", "dask-protocol"];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let check = match env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => bail!("`{other}` is not known: it is --check or nothing"),
    };
    let mut changed = Vec::new();
    for name in CRATES {
        let file = format!("docs/public-api/{name}.txt");
        let path = Path::new(ROOT).join(&file);
        let (before, now) = (fs::read_to_string(&path).unwrap_or_default(), listing(name)?);
        if check {
            print!("{}", difference(&before, &now));
            changed.extend((before != now).then_some(file));
        } else {
            fs::write(&path, now).with_context(|| format!("{file} cannot be written"))?;
        }
    }
    ensure!(
        changed.is_empty(),
        "the public API has changed: run script/public-api, and commit {}",
        changed.join(" and ")
    );
    Ok(())
}

/// The public items of a crate with all its features, one a line, sorted. What blanket
/// implementations bring is left out, and so are `Send` and the like.
fn listing(name: &str) -> anyhow::Result<String> {
    let json = rustdoc_json(name)?;
    let api = public_api::Builder::from_rustdoc_json(&json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .build()
        .context("this release of `public-api` may not know the JSON of this rustdoc")?;
    let items = api.items().map(|item| format!("{item}\n"));
    Ok(std::iter::once("# Written by script/public-api\n".to_owned()).chain(items).collect())
}

fn rustdoc_json(name: &str) -> anyhow::Result<PathBuf> {
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(ROOT)
        .env("RUSTDOC", concat!(env!("CARGO_MANIFEST_DIR"), "/rustdoc"))
        .args(["rustdoc", "--quiet", "--locked", "--lib", "--all-features", "--package", name])
        .args(["--", "-Zunstable-options", "--output-format", "json", "--cap-lints", "allow"])
        .status()
        .context("cargo cannot be started")?;
    ensure!(status.success(), "rustdoc failed for {name}");
    // This program is in `target/debug`, and what rustdoc writes in `target/doc`.
    let program = env::current_exe()?;
    let target = program.ancestors().nth(2).context("it is in a target directory")?;
    Ok(target.join("doc").join(name.replace('-', "_")).with_extension("json"))
}

/// The lines that only one of them has, as a diff shows them.
fn difference(before: &str, now: &str) -> String {
    let only = |sign, text: &str, other: &str| -> String {
        let lines = text.lines().filter(|line| !other.lines().any(|it| it == *line));
        lines.map(|line| format!("{sign}{line}\n")).collect()
    };
    only('-', before, now) + &only('+', now, before)
}
