//! Messages of our own protocols as bytes, by postcard: both ends are one version of
//! this library, which each protocol checks first.

use serde::Serialize;

/// Appends an encoded message.
pub(crate) fn append<T: Serialize>(message: &T, out: &mut Vec<u8>) {
    let taken = std::mem::take(out);
    *out =
        postcard::to_extend(message, taken).expect("messages consist of what postcard can encode");
}
