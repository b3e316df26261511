//! `outboard status`: a status page in a terminal, or one snapshot of it as JSON.

mod fetch;
mod screen;
mod shown;
mod terminal;

use std::io::{self, IsTerminal, Write};

use anyhow::Context;
use clap::error::ErrorKind;
use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};

use fetch::Page;
use shown::Shown;

/// The arguments of `outboard status`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The status page, such as https://shop.example/ops/status; http://127.0.0.1:9000
    /// alone stands for /status there
    #[arg(value_parser = page)]
    url: Uri,
    /// Print one snapshot as JSON and exit
    #[arg(long)]
    json: bool,
    /// A header to send, for example for a login ("Authorization: Bearer …")
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// Shows the page until the user quits, or prints what it says now.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let visible = io::stdout().is_terminal() && io::stdin().is_terminal();
    if !args.json && !visible {
        let line = "status needs a terminal: use --json to print one snapshot\n";
        clap::Error::raw(ErrorKind::MissingRequiredArgument, line).exit();
    }
    let headers = args.headers.iter().cloned().collect();
    let mut page = Page::new(args.url.clone(), headers).with_context(|| args.url.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let first = runtime.block_on(page.find()).with_context(|| page.url())?;
    if args.json {
        return Ok(writeln!(io::stdout().lock(), "{}", first.json)?);
    }
    let shown = Shown::new(page.url(), first.view);
    runtime.block_on(terminal::show(&page, shown))
}

/// An `http://` or `https://` URL.
fn page(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|error| format!("not a URL: {error}"))?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    let Some(authority) = uri.authority().filter(|_| known) else {
        return Err("only http:// and https:// URLs can be asked".to_owned());
    };
    // What is no port would be taken for the default one.
    if authority.port().is_none() && !authority.as_str().ends_with(authority.host()) {
        return Err("the port is not a number up to 65535".to_owned());
    }
    Ok(uri)
}

/// `Name: value`.
fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write it as Name: value")?;
    let name = name.trim().parse().map_err(|_| "not the name of a header")?;
    let mut value: HeaderValue = value.trim().parse().map_err(|_| "not the value of a header")?;
    // It may be a secret, which no log has to show.
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::page;

    #[test]
    fn only_http_urls_are_pages() {
        for good in [
            "http://127.0.0.1:9000/status",
            "http://localhost",
            "http://[::1]/x?y=1",
            "https://localhost:9000/",
        ] {
            assert_eq!(page(good).map(|uri| uri.host().is_some()), Ok(true), "{good}");
        }
        for bad in [
            "",
            "status",
            "localhost:8000/status",
            "ftp://localhost/",
            "http://a:99999/",
            "http:///",
        ] {
            assert!(page(bad).is_err(), "{bad:?} was taken");
        }
    }
}
