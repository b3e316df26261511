//! A task function stands wherever a function can, under any name and condition.

#![deny(warnings)]

mod images {
    /// Documented, raw and visible.
    #[outboard::task]
    pub(crate) fn r#match(n: u32) -> u32 {
        n
    }
}

#[outboard::task]
#[cfg(any())]
fn absent_below(absent: Absent) {}

#[cfg(any())]
#[outboard::task]
fn absent_above(absent: Absent) {}

#[outboard::task]
#[cfg(all())]
fn present() {}

macro_rules! identity {
    ($name:ident, $ty:ty) => {
        #[outboard::task]
        fn $name(value: $ty) -> $ty {
            value
        }
    };
}

identity!(identity_of_bytes, Vec<u8>);

/// The names that the expansion uses are free for the user's own types.
type Entry = u8;

#[outboard::task]
fn entry(entry: Entry) -> Entry {
    entry
}

fn main() {
    #[outboard::task]
    fn inner(n: u32) -> u32 {
        n
    }
}
