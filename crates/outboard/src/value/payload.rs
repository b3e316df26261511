//! Opaque bytes: encoded arguments, or an encoded result.

use std::hash::Hasher;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

use pieces::Pieces;

/// In several places of memory.
mod pieces;

/// Opaque bytes: encoded arguments, or an encoded result. Large or shared ones
/// are cloned without copying; a few bytes need no memory of their own.
///
/// It derefs to all of the bytes. If they are in several places, they are joined for that,
/// which is a copy: whoever writes them somewhere takes the [pieces](Self::pieces).
#[derive(Clone, Debug)]
pub enum Payload {
    Few(u8, [u8; FEW_BYTES]),
    Owned(Vec<u8>),
    /// Boxed, for tasks that wait should be small.
    Shared(Box<Bytes>),
    /// In several places, or much.
    Pieces(Arc<Pieces>),
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
    pub(crate) fn freed_elsewhere(self) -> Self {
        let mut pieces = match self {
            Self::Shared(bytes) if bytes.len() >= MUCH_BYTES => Pieces::new(vec![*bytes]),
            Self::Pieces(pieces) => pieces,
            few => return few,
        };
        if let Some(alone) = Arc::get_mut(&mut pieces) {
            alone.freed_elsewhere = true;
        }
        Self::Pieces(pieces)
    }

    /// These, one after the other.
    pub(crate) fn of_pieces(pieces: Vec<Bytes>) -> Self {
        Self::Pieces(Pieces::new(pieces))
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(few, _) => usize::from(*few),
            Self::Owned(bytes) => bytes.len(),
            Self::Shared(bytes) => bytes.len(),
            Self::Pieces(pieces) => pieces.len(),
        }
    }

    /// The bytes, where they are.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let (one, pieces) = match self {
            Self::Pieces(pieces) => (None, Some(pieces.iter())),
            other => (Some(&**other), None),
        };
        one.into_iter().chain(pieces.into_iter().flatten())
    }

    /// Whether both have the same bytes, in whatever places.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (self.pieces(), other.pieces());
        let (mut one, mut two): (&[u8], &[u8]) = (&[], &[]);
        if self.len() != other.len() {
            return false;
        }
        loop {
            if one.is_empty() {
                let Some(next) = ours.next() else { return true };
                one = next;
            }
            if two.is_empty() {
                let Some(next) = theirs.next() else { return true };
                two = next;
            }
            let both = one.len().min(two.len());
            if one[..both] != two[..both] {
                return false;
            }
            (one, two) = (&one[both..], &two[both..]);
        }
    }

    /// Feeds the bytes to a hasher, which sees the same in whatever places they are.
    pub(crate) fn feed(&self, hasher: &mut impl Hasher) {
        self.pieces().for_each(|piece| hasher.write(piece));
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Self::Few(..) => Bytes::copy_from_slice(&self),
            Self::Owned(bytes) => bytes.into(),
            Self::Shared(bytes) => *bytes,
            Self::Pieces(pieces) => Pieces::into_one(pieces),
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
            Self::Pieces(pieces) => pieces.joined(),
        }
    }
}

/// An empty vector with room for so many bytes.
fn room(bytes: usize) -> Vec<u8> {
    #[cfg(all(feature = "local", unix))]
    return super::room::room_for(bytes);
    #[cfg(not(all(feature = "local", unix)))]
    Vec::with_capacity(bytes)
}

#[cfg(test)]
mod tests {
    use std::hash::DefaultHasher;

    use super::*;

    #[test]
    fn pieces_are_the_bytes_that_they_are_as_one() {
        let pieces = |cuts: &[usize]| {
            let all = Bytes::from_static(b"0123456789");
            let ends = cuts.iter().copied().chain([all.len()]);
            let starts = [0].into_iter().chain(cuts.iter().copied());
            Payload::of_pieces(starts.zip(ends).map(|(start, end)| all.slice(start..end)).collect())
        };
        let hash = |payload: &Payload| {
            let mut hasher = DefaultHasher::new();
            payload.feed(&mut hasher);
            hasher.finish()
        };
        let whole = Payload::copy(b"0123456789");
        for cuts in [&[][..], &[4], &[0, 4, 4, 10], &[1, 2, 9]] {
            let cut = pieces(cuts);
            assert!(cut.is_same(&whole) && whole.is_same(&cut) && cut.is_same(&pieces(&[3])));
            assert_eq!((cut.len(), hash(&cut)), (10, hash(&whole)));
            assert_eq!(
                (&*cut, &*cut.clone().into_bytes()),
                (&b"0123456789"[..], &b"0123456789"[..])
            );
        }
        assert!(!pieces(&[4]).is_same(&Payload::copy(b"012345678")));
        assert!(!pieces(&[4]).is_same(&Payload::copy(b"01234567x9")));
    }

    #[test]
    fn much_is_not_copied_to_be_freed_elsewhere() {
        let much = vec![7_u8; MUCH_BYTES];
        let at = much.as_ptr();
        let payload = Payload::from(much).freed_elsewhere();
        assert_eq!((payload.as_ptr(), payload.len()), (at, MUCH_BYTES));
        let back: Vec<u8> = payload.into_bytes().into();
        assert_eq!(back.as_ptr(), at, "it goes to whoever is the last to have it");
    }
}
