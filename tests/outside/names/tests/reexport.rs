//! A crate that has the library through another one; its dependencies do not name it.

use std::process::Command;

use names::deps::outboard::{self, Client};

outboard::test_worker!();

mod inner {
    #[names::deps::outboard::task(crate = "names::deps::outboard", pure)]
    pub async fn triple(n: u64) -> u64 {
        3 * n
    }
}

#[outboard::on_start(crate = "::names::deps::outboard")]
fn start() -> Result<(), String> {
    Ok(())
}

#[outboard::main(crate = "outboard", flavor = "current_thread")]
async fn tripled() -> Result<(u64, u64), outboard::Error> {
    let client = Client::local().workers(1).await?;
    let (a, b) = (client.submit(inner::triple, 2), client.submit(names::double, 2));
    Ok((a.await?, b.await?))
}

#[test]
fn a_reexport_has_worker_processes() {
    assert_eq!(tripled().unwrap(), (6, 4));
}

#[test]
fn a_program_with_registries_of_its_own_has_worker_processes() {
    let output = Command::new(env!("CARGO_BIN_EXE_renamed")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, b"renamed\n");
}
