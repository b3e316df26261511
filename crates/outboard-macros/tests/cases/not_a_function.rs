//! A task is a free function: neither another item nor a method.

#![allow(unused_variables)]

#[outboard::task]
struct Resize;

#[outboard::task]
const SIZE: u32 = 3;

impl Resize {
    #[outboard::task]
    fn apply(&self, width: u32) -> u32 {
        width
    }

    #[outboard::task]
    fn new(width: u32) -> Self {
        Resize
    }
}

fn main() {}
