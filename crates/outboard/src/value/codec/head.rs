//! MessagePack: what stands before the bytes of a text or the items of a sequence, or
//! is a value by itself.

/// What a value begins with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Head {
    Nil,
    Bool(bool),
    Unsigned(u64),
    /// If it is not negative, it is read as `Unsigned`.
    Signed(i64),
    F32(f32),
    F64(f64),
    /// So many bytes of UTF-8 follow.
    Text(u32),
    /// So many bytes follow.
    Binary(u32),
    /// So many values follow.
    Array(u32),
    /// So many pairs of values follow.
    Map(u32),
    /// A type of ours; so many bytes follow.
    Extension(u8, u32),
}

/// Bytes that MessagePack does not have, or an end where there should be more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Head {
    /// Appends it, in its shortest form.
    #[inline]
    pub(super) fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Nil => out.push(0xc0),
            Self::Bool(value) => out.push(0xc2 | u8::from(value)),
            Self::Unsigned(value) => unsigned(out, value),
            Self::Signed(value) => signed(out, value),
            Self::F32(value) => put(out, 0xca, value.to_bits().to_be_bytes()),
            Self::F64(value) => put(out, 0xcb, value.to_bits().to_be_bytes()),
            Self::Text(bytes @ 0..=31) => out.push(0xa0 | bytes as u8),
            Self::Text(bytes) => sized(out, [Some(0xd9), Some(0xda), Some(0xdb)], bytes),
            Self::Binary(bytes) => sized(out, [Some(0xc4), Some(0xc5), Some(0xc6)], bytes),
            Self::Array(items @ 0..=15) => out.push(0x90 | items as u8),
            Self::Array(items) => sized(out, [None, Some(0xdc), Some(0xdd)], items),
            Self::Map(items @ 0..=15) => out.push(0x80 | items as u8),
            Self::Map(items) => sized(out, [None, Some(0xde), Some(0xdf)], items),
            Self::Extension(kind, bytes) => {
                match bytes {
                    1 => out.push(0xd4),
                    2 => out.push(0xd5),
                    4 => out.push(0xd6),
                    8 => out.push(0xd7),
                    16 => out.push(0xd8),
                    _ => sized(out, [Some(0xc7), Some(0xc8), Some(0xc9)], bytes),
                }
                out.push(kind);
            }
        }
    }

    /// Takes one from the beginning of bytes.
    pub(super) fn read(rest: &mut &[u8]) -> Result<Self, Malformed> {
        Ok(match take(rest).map(u8::from_be_bytes)? {
            small @ 0..=0x7f => Self::Unsigned(small.into()),
            items @ 0x80..=0x8f => Self::Map((items & 0x0f).into()),
            items @ 0x90..=0x9f => Self::Array((items & 0x0f).into()),
            bytes @ 0xa0..=0xbf => Self::Text((bytes & 0x1f).into()),
            0xc0 => Self::Nil,
            0xc1 => return Err(Malformed),
            0xc2 => Self::Bool(false),
            0xc3 => Self::Bool(true),
            0xc4 => Self::Binary(read_u8(rest)?),
            0xc5 => Self::Binary(read_u16(rest)?),
            0xc6 => Self::Binary(read_u32(rest)?),
            0xc7 => extension(read_u8(rest)?, rest)?,
            0xc8 => extension(read_u16(rest)?, rest)?,
            0xc9 => extension(read_u32(rest)?, rest)?,
            0xca => Self::F32(f32::from_bits(read_u32(rest)?)),
            0xcb => Self::F64(f64::from_bits(take(rest).map(u64::from_be_bytes)?)),
            0xcc => Self::Unsigned(read_u8(rest)?.into()),
            0xcd => Self::Unsigned(read_u16(rest)?.into()),
            0xce => Self::Unsigned(read_u32(rest)?.into()),
            0xcf => Self::Unsigned(take(rest).map(u64::from_be_bytes)?),
            0xd0 => from_signed(take(rest).map(i8::from_be_bytes)?.into()),
            0xd1 => from_signed(take(rest).map(i16::from_be_bytes)?.into()),
            0xd2 => from_signed(take(rest).map(i32::from_be_bytes)?.into()),
            0xd3 => from_signed(take(rest).map(i64::from_be_bytes)?),
            0xd4 => extension(1, rest)?,
            0xd5 => extension(2, rest)?,
            0xd6 => extension(4, rest)?,
            0xd7 => extension(8, rest)?,
            0xd8 => extension(16, rest)?,
            0xd9 => Self::Text(read_u8(rest)?),
            0xda => Self::Text(read_u16(rest)?),
            0xdb => Self::Text(read_u32(rest)?),
            0xdc => Self::Array(read_u16(rest)?),
            0xdd => Self::Array(read_u32(rest)?),
            0xde => Self::Map(read_u16(rest)?),
            0xdf => Self::Map(read_u32(rest)?),
            small @ 0xe0.. => Self::Signed((small as i8).into()),
        })
    }
}

fn unsigned(out: &mut Vec<u8>, value: u64) {
    match value {
        0..=0x7f => out.push(value as u8),
        0x80..=0xff => put(out, 0xcc, [value as u8]),
        0x100..=0xffff => put(out, 0xcd, (value as u16).to_be_bytes()),
        0x1_0000..=0xffff_ffff => put(out, 0xce, (value as u32).to_be_bytes()),
        _ => put(out, 0xcf, value.to_be_bytes()),
    }
}

fn signed(out: &mut Vec<u8>, value: i64) {
    match value {
        0.. => unsigned(out, value.unsigned_abs()),
        -32.. => out.push(value as u8),
        -0x80.. => put(out, 0xd0, (value as i8).to_be_bytes()),
        -0x8000.. => put(out, 0xd1, (value as i16).to_be_bytes()),
        -0x8000_0000.. => put(out, 0xd2, (value as i32).to_be_bytes()),
        _ => put(out, 0xd3, value.to_be_bytes()),
    }
}

/// A marker, and a length in the first of one, two and four bytes that holds it and
/// has a marker.
fn sized(out: &mut Vec<u8>, markers: [Option<u8>; 3], length: u32) {
    match (markers, u8::try_from(length), u16::try_from(length)) {
        ([Some(marker), ..], Ok(length), _) => put(out, marker, [length]),
        ([_, Some(marker), _], _, Ok(length)) => put(out, marker, length.to_be_bytes()),
        ([.., marker], ..) => put(out, marker.unwrap_or(0xc1), length.to_be_bytes()),
    }
}

/// A marker and what belongs to it, in one go.
#[inline]
fn put<const N: usize>(out: &mut Vec<u8>, marker: u8, bytes: [u8; N]) {
    const MOST: usize = 9;
    let mut all = [marker; MOST];
    all[1..=N].copy_from_slice(&bytes);
    out.extend_from_slice(&all[..=N]);
}

#[inline]
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (taken, left) = rest.split_first_chunk().ok_or(Malformed)?;
    *rest = left;
    Ok(*taken)
}

#[inline]
fn read_u8(rest: &mut &[u8]) -> Result<u32, Malformed> {
    Ok(u8::from_be_bytes(take(rest)?).into())
}

#[inline]
fn read_u16(rest: &mut &[u8]) -> Result<u32, Malformed> {
    Ok(u16::from_be_bytes(take(rest)?).into())
}

#[inline]
fn read_u32(rest: &mut &[u8]) -> Result<u32, Malformed> {
    Ok(u32::from_be_bytes(take(rest)?))
}

#[inline]
fn extension(bytes: u32, rest: &mut &[u8]) -> Result<Head, Malformed> {
    let [kind] = take(rest)?;
    Ok(Head::Extension(kind, bytes))
}

#[inline]
fn from_signed(value: i64) -> Head {
    match u64::try_from(value) {
        Ok(value) => Head::Unsigned(value),
        Err(_) => Head::Signed(value),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn heads() -> impl Strategy<Value = Head> {
        // As many small ones as large ones.
        let length = prop_oneof![0..40_u32, 200..300_u32, 65_500..65_600_u32, any::<u32>()];
        let number = (any::<u64>(), 0..64_u32).prop_map(|(number, shift)| number >> shift);
        prop_oneof![
            Just(Head::Nil),
            any::<bool>().prop_map(Head::Bool),
            number.clone().prop_map(Head::Unsigned),
            number.prop_map(|number| Head::Signed(-1 - (number >> 1) as i64)),
            any::<f32>().prop_map(Head::F32),
            any::<f64>().prop_map(Head::F64),
            length.clone().prop_map(Head::Text),
            length.clone().prop_map(Head::Binary),
            length.clone().prop_map(Head::Array),
            length.clone().prop_map(Head::Map),
            (0..128_u8, length).prop_map(|(kind, length)| Head::Extension(kind, length)),
        ]
    }

    proptest! {
        #[test]
        fn a_head_is_read_as_it_was_written(head in heads(), after in any::<u8>()) {
            let mut out = Vec::new();
            head.write(&mut out);
            out.push(after);
            let mut rest = &out[..];
            let back = Head::read(&mut rest);
            prop_assert_eq!(rest, [after]);
            // A NaN is not equal to itself.
            prop_assert_eq!(format!("{back:?}"), format!("{:?}", Ok::<_, Malformed>(head)));
            for length in 0..out.len() - 1 {
                prop_assert_eq!(Head::read(&mut &out[..length]), Err(Malformed));
            }
        }
    }

    #[test]
    fn numbers_that_are_not_negative_have_one_form() {
        let mut out = Vec::new();
        Head::Signed(200).write(&mut out);
        assert_eq!(out, [0xcc, 200]);
        for long in [&[0xd0_u8, 5][..], &[0xd1, 0, 5], &[0xd2, 0, 0, 0, 5]] {
            assert_eq!(Head::read(&mut &*long), Ok(Head::Unsigned(5)));
        }
        assert_eq!(Head::read(&mut &[0xc1][..]), Err(Malformed));
    }
}
