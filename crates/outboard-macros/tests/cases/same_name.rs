//! Two task functions of one name are as wrong as two functions of one name.

#[outboard::task]
fn resize(width: u32) -> u32 {
    width
}

#[outboard::task]
fn resize(height: u64) -> u64 {
    height
}

fn main() {}
