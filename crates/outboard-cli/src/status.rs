//! `outboard status`: a status page in a terminal, or one snapshot of it as JSON.

mod fetch;
mod screen;
mod shown;
mod terminal;

use std::io::{self, IsTerminal, Write};

use anyhow::Context;

use crate::args::StatusArgs;
use crate::failure::Failure;
use fetch::Page;
use shown::Shown;

/// Shows the page until the user quits, or prints what it says now.
pub(crate) fn run(args: &StatusArgs) -> Result<(), Failure> {
    let visible = io::stdout().is_terminal() && io::stdin().is_terminal();
    if !args.json && !visible {
        let line = "status needs a terminal: with --json it prints one snapshot instead";
        return Err(Failure::Usage(line.to_owned()));
    }
    let page = Page::new(args);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let first = runtime.block_on(page.get()).with_context(|| page.url())?;
    if args.json {
        return Ok(writeln!(io::stdout().lock(), "{}", first.json)?);
    }
    let shown = Shown::new(page.url(), first.view);
    Ok(runtime.block_on(terminal::show(&page, shown))?)
}
