//! Shapes of functions that run on start, and where they may stand.

#[outboard::on_start]
fn nothing() {}

#[outboard::on_start()]
pub(crate) fn result() -> Result<(), std::io::Error> {
    Ok(())
}

#[outboard::on_start(order = -2,)]
fn r#match() -> Result<(), Box<dyn std::error::Error>> {
    Ok(())
}

#[outboard::on_start]
#[cfg(any())]
fn not_there() -> NoSuchType {}

mod inner {
    #[outboard::on_start(order = 1)]
    #[deprecated]
    fn nothing() {}
}

fn main() {
    outboard::init();
    let _ = (nothing, result, r#match);
}
