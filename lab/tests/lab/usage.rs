use crate::program::{command, finish, run};

#[test]
fn arguments_that_make_no_sense_are_one_line_and_exit_code_2() {
    for args in [
        &["--fats"][..],
        &["frob"],
        &["serve", "--before-port", "70000"],
        &["serve", "--timeout", "0"],
        &["serve", "--timeout", "soon"],
        &["serve", "--workers", "0"],
        &["serve", "--workers", "2", "--url", "local://"],
        &["measure"],
        &["measure", "https://localhost/"],
        &["measure", "localhost:8000/fast"],
        &["measure", "http://"],
        &["measure", "http://localhost/", "-n", "0"],
        &["measure", "http://localhost/", "-n", "many"],
        &["measure", "http://localhost/", "--while", "fib"],
        &["tour", "--quick", "slowly"],
        &["tour", "--quick", "--quick"],
        &["chaos", "--seconds", "0"],
        &["chaos", "--seed", "dice"],
        &["chaos", "--workers", "2", "--url", "local://"],
        &["chaos", "calmly"],
        &["fairness", "--rounds", "0"],
        &["fairness", "--slice", "0s"],
        &["fairness", "--workers", "1"],
        &["fairness", "--url", "local://"],
        &["bench", "--only", "roundtrips"],
        &["bench", "--only"],
        &["bench", "quickly"],
    ] {
        let ended = run(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {ended:?}");
        assert_eq!(ended.stdout, "", "{args:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{args:?}: {ended:?}");
        assert!(ended.stderr.starts_with("lab: "), "{args:?}: {ended:?}");
    }
}

#[test]
fn a_wrong_engine_url_is_one_line_and_exit_code_2() {
    let free = ["--before-port", "0", "--threads-port", "0", "--after-port", "0"];
    for url in ["nonsense", "redis://localhost", "local://?workers=0", "inline://?speed=9"] {
        let ended = run(&[&["serve", "--url", url], &free[..]].concat());
        assert_eq!(ended.code, Some(2), "{url}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{url}: {ended:?}");
        assert!(ended.stderr.contains(url), "{url}: {ended:?}");
    }
    let mut from_environment = command(&["tour", "--quick"]);
    from_environment.env("OUTBOARD_URL", "redis://localhost");
    assert_eq!(finish(from_environment).code, Some(2));
}

#[test]
fn help_and_version_go_to_stdout() {
    let help = run(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for word in ["serve", "measure", "tour", "bench", "chaos", "fairness", "--quick", "--json"] {
        assert!(help.stdout.contains(word), "no {word} in {}", help.stdout);
    }
    let version = run(&["--version"]);
    assert_eq!(version.code, Some(0));
    assert_eq!(version.stdout, concat!("lab ", env!("CARGO_PKG_VERSION"), "\n"));
}
