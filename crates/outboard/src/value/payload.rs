//! Opaque bytes: encoded arguments, or an encoded result.

use std::ops::Deref;

use bytes::Bytes;

use crate::offload;

/// Opaque bytes: encoded arguments, or an encoded result. Large or shared ones
/// are cloned without copying; a few bytes need no memory of their own.
#[derive(Clone, Debug)]
pub enum Payload {
    Few(u8, [u8; FEW_BYTES]),
    Owned(Vec<u8>),
    /// Boxed, for tasks that wait should be small.
    Shared(Box<Bytes>),
}

/// As many as there is room for beside the others.
pub(crate) const FEW_BYTES: usize = 30;

/// From this size on, giving memory back takes long.
const MUCH_BYTES: usize = 1 << 20;

/// From this size on, copying costs more than sharing.
pub(crate) const SHARED_BYTES: usize = 16 << 10;

impl Payload {
    /// Makes clones cheap, whatever the size.
    pub(crate) fn share(self) -> Self {
        Self::from(self.into_bytes())
    }

    /// A copy of bytes.
    pub(crate) fn copy(bytes: &[u8]) -> Self {
        match bytes.len() {
            few @ ..=FEW_BYTES => {
                let mut room = [0; FEW_BYTES];
                room[..few].copy_from_slice(bytes);
                Self::Few(few as u8, room)
            }
            _ => bytes.to_vec().into(),
        }
    }

    /// The same, whose memory is given back on a thread of the library's own, if it is much.
    /// The last to hold it may be an event loop, and 64 MiB take the system 0.6 to 9 ms.
    pub(crate) fn freed_elsewhere(self) -> Self {
        if self.len() < MUCH_BYTES {
            return self;
        }
        struct Held(Option<Bytes>);
        impl AsRef<[u8]> for Held {
            fn as_ref(&self) -> &[u8] {
                self.0.as_deref().unwrap_or_default()
            }
        }
        impl Drop for Held {
            fn drop(&mut self) {
                let bytes = self.0.take();
                offload::spawn(move || drop(bytes));
            }
        }
        Bytes::from_owner(Held(Some(self.into_bytes()))).into()
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Self::Few(..) => Bytes::copy_from_slice(&self),
            Self::Owned(bytes) => bytes.into(),
            Self::Shared(bytes) => *bytes,
        }
    }

    /// So large that it is worth another way than through the socket.
    pub(crate) fn is_large(&self) -> bool {
        self.len() > LARGE_BYTES
    }
}

/// Above this size a payload goes through the arena.
pub(crate) const LARGE_BYTES: usize = 32 << 10;

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        if bytes.len() >= SHARED_BYTES { Bytes::from(bytes).into() } else { Self::Owned(bytes) }
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self::Shared(Box::new(bytes))
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Few(few, bytes) => &bytes[..usize::from(*few)],
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}
