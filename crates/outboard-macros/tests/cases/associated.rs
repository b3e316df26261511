//! A function of an `impl` block or a trait cannot be registered: nothing names it there.

struct Image;

impl Image {
    #[outboard::task]
    fn blank(width: u32) -> u32 {
        width
    }

    #[outboard::task]
    fn narrow(&self) {}

    #[outboard::on_start]
    fn load() {}
}

trait Shape {
    #[outboard::task]
    fn area(width: u32) -> u32;
}

fn main() {}
