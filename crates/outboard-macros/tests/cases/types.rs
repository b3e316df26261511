//! A type that cannot travel gives one error, at the place where the function names it.

#![allow(unused_variables)]

struct Image;
struct Thumbnail;

#[outboard::task]
fn shrink(width: u32, image: Image, other: Image) -> Option<Thumbnail> {
    None
}

#[outboard::task(name = "later")]
async fn shrink_later(image: Image) -> u32 {
    0
}

fn main() {}
