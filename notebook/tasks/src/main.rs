//! The workers of the notebooks: executes the functions of the library beside it.

// Links the functions: nothing here calls them by name.
use tasks as _;

fn main() {
    outboard::init();
    eprintln!("this program executes tasks: see `LocalBuilder::program`");
}
