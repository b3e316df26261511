//! A task that takes batches takes one `Vec`, and returns one output for each item.

#[outboard::task(batch)]
fn of_one(image: Vec<u8>) -> u8 {
    image[0]
}

#[outboard::task(batch(max = 32, wait = "2ms"))]
fn of_two(images: Vec<String>, size: u32) -> Vec<String> {
    drop(size);
    images
}

#[outboard::task(batch(max = 1000))]
fn too_many(images: Vec<String>) -> Vec<String> {
    images
}

#[outboard::task(batch(wait = 2))]
fn no_unit(images: Vec<String>) -> Vec<String> {
    images
}

struct Image;

#[outboard::task(batch)]
fn does_not_travel(images: Vec<Image>) -> Vec<u8> {
    images.into_iter().map(|_| 1).collect()
}

fn main() {}
