//! A name stands for one function, so nothing about its types is left open.

#[outboard::task]
fn first<'a, T, const N: usize>(items: [T; N]) -> T
where
    T: Clone,
{
    items[0].clone()
}

#[outboard::task]
fn length(items: impl Iterator<Item = u8>) -> impl Sized {
    items.count()
}

#[outboard::task]
fn forever() -> ! {
    loop {}
}

fn main() {}
