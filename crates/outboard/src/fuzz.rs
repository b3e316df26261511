//! What fuzzers check of parts that are private: `cargo fuzz` builds with
//! `--cfg fuzzing`. Tests check the same with what fuzzers were given and have found.

use crate::engine::url::Url;

/// Bytes as both ends of a worker's socket read them.
#[cfg(all(feature = "local", unix))]
pub fn wire(data: &[u8]) {
    crate::local::check_wire(data);
}

/// Bytes as values of arguments and results.
pub fn value(data: &[u8]) {
    crate::value::codec::check::check(data);
}

/// A URL, as each engine reads it: it is refused, or says something.
pub fn url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(url) = Url::parse(text) else { return };
    let _ = url.refuse_hosts();
    for engine in ["inline", "local"] {
        let _ = url.clone().settings(engine);
    }
    #[cfg(feature = "dask")]
    {
        let mut url = url;
        let _ = crate::engine::dask::Settings::of(&mut url);
        let _ = url.settings("dask");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// Has a check look at all files of a target.
    fn replay(target: &str, check: fn(&[u8])) {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
        let mut seen = 0;
        for kind in ["corpus", "regressions"] {
            let Ok(files) = fs::read_dir(fuzz.join(kind).join(target)) else { continue };
            for file in files {
                let path = file.expect("directories can be listed").path();
                check(&fs::read(&path).expect("files can be read"));
                seen += 1;
            }
        }
        assert!(seen > 0, "{target} has no corpus");
    }

    #[cfg(all(feature = "local", unix))]
    #[test]
    fn frames_hold_what_fuzzers_found() {
        replay("wire", super::wire);
    }

    #[test]
    fn values_hold_what_fuzzers_found() {
        replay("value", super::value);
    }

    #[test]
    fn urls_hold_what_fuzzers_found() {
        replay("url", super::url);
    }
}
