//! Has two task functions of one name.

#[outboard::task(name = "images::resize")]
fn resize(width: u32) -> u32 {
    width
}

mod other {
    #[outboard::task(name = "images::resize")]
    pub fn shrink(width: u32) -> u32 {
        width / 2
    }
}

fn main() {
    outboard::init();
    println!("{}", resize(1) + other::shrink(2));
}
