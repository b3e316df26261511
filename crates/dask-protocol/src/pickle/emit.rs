//! Writes pickles, protocol 4 and the `bytearray` of protocol 5, opcode by opcode.
//!
//! A pickle is a program for a stack machine, so a part of one is passed by
//! writing its opcodes where it belongs. Nothing is memoized.

/// A pickle that is being written.
///
/// # Examples
///
/// ```
/// use dask_protocol::pickle::Pickle;
///
/// let mut pickle = Pickle::new();
/// pickle.global("builtins", "ValueError");
/// pickle.tuple(|args| args.str("oops"));
/// pickle.call();
/// assert_eq!(pickle.finish(), b"\x80\x04\x8c\x08builtins\x8c\nValueError\x93(\x8c\x04oopstR.");
/// ```
#[derive(Clone, Debug)]
pub struct Pickle(Vec<u8>);

impl Pickle {
    /// An empty program.
    #[expect(clippy::new_without_default, reason = "it is begun, and is nothing by default")]
    pub fn new() -> Self {
        Self(vec![0x80, 4])
    }

    /// Goes on with opcodes that are to be a part of some program.
    pub fn part_of(opcodes: Vec<u8>) -> Self {
        Self(opcodes)
    }

    /// How many bytes it has so far.
    pub(crate) fn length(&self) -> usize {
        self.0.len()
    }

    /// The opcodes alone.
    pub fn into_part(self) -> Vec<u8> {
        self.0
    }

    /// The whole program.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.push(b'.');
        self.0
    }

    /// `None`.
    pub fn none(&mut self) {
        self.0.push(b'N');
    }

    /// `True` or `False`.
    pub fn bool(&mut self, value: bool) {
        self.0.push(if value { 0x88 } else { 0x89 });
    }

    /// An integer, in its shortest form.
    pub fn int(&mut self, value: i128) {
        if let Ok(small) = u8::try_from(value) {
            self.0.extend([b'K', small]);
        } else if let Ok(small) = u16::try_from(value) {
            self.0.push(b'M');
            self.0.extend(small.to_le_bytes());
        } else if let Ok(small) = i32::try_from(value) {
            self.0.push(b'J');
            self.0.extend(small.to_le_bytes());
        } else {
            let bits = 129 - if value < 0 { value.leading_ones() } else { value.leading_zeros() };
            self.long(&value.to_le_bytes()[..bits.div_ceil(8) as usize]);
        }
    }

    /// An integer of 128 bits without a sign.
    pub fn unsigned(&mut self, value: u128) {
        match i128::try_from(value) {
            Ok(value) => self.int(value),
            Err(_) => {
                let mut bytes = [0; 17];
                bytes[..16].copy_from_slice(&value.to_le_bytes());
                self.long(&bytes);
            }
        }
    }

    /// An integer, as so many signed bytes, little endian.
    pub(crate) fn long(&mut self, bytes: &[u8]) {
        match u8::try_from(bytes.len()) {
            Ok(length) => self.0.extend([0x8a, length]),
            Err(_) => {
                self.0.push(0x8b);
                self.0.extend((bytes.len() as u32).to_le_bytes());
            }
        }
        self.0.extend(bytes);
    }

    /// A float.
    pub fn float(&mut self, value: f64) {
        self.0.push(b'G');
        self.0.extend(value.to_be_bytes());
    }

    /// Text of less than 4 GiB.
    pub fn str(&mut self, text: &str) {
        self.sized(&[0x8c], b'X', text.as_bytes());
    }

    /// Bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        match u32::try_from(bytes.len()) {
            Ok(_) => self.sized(b"C", b'B', bytes),
            Err(_) => {
                self.0.push(0x8e);
                self.0.extend((bytes.len() as u64).to_le_bytes());
                self.0.extend(bytes);
            }
        }
    }

    /// Bytes that Python may change.
    pub fn bytearray(&mut self, bytes: &[u8]) {
        self.0.push(0x96);
        self.0.extend((bytes.len() as u64).to_le_bytes());
        self.0.extend(bytes);
    }

    fn sized(&mut self, short: &[u8; 1], long: u8, bytes: &[u8]) {
        match u8::try_from(bytes.len()) {
            Ok(length) => self.0.extend([short[0], length]),
            Err(_) => {
                self.0.push(long);
                self.0.extend((bytes.len() as u32).to_le_bytes());
            }
        }
        self.0.extend(bytes);
    }

    /// A class or function by its import path.
    pub fn global(&mut self, module: &str, name: &str) {
        self.str(module);
        self.str(name);
        self.0.push(0x93);
    }

    /// What `items` writes, as a tuple.
    pub fn tuple(&mut self, items: impl FnOnce(&mut Self)) {
        self.mark();
        items(self);
        self.end_tuple();
    }

    /// A tuple of what is written between this and [`end_tuple`](Self::end_tuple).
    pub fn mark(&mut self) {
        self.0.push(b'(');
    }

    /// Ends what [`mark`](Self::mark) began.
    pub fn end_tuple(&mut self) {
        self.0.push(b't');
    }

    /// A tuple of the one thing that was written last.
    pub fn tuple_of_one(&mut self) {
        self.0.push(0x85);
    }

    /// A tuple of the two things that were written last.
    pub fn tuple_of_two(&mut self) {
        self.0.push(0x86);
    }

    /// A tuple of nothing.
    pub fn empty_tuple(&mut self) {
        self.0.push(b')');
    }

    /// A list of what follows, up to [`end_list`](Self::end_list).
    pub fn begin_list(&mut self) {
        self.0.extend(b"](");
    }

    /// Ends what [`begin_list`](Self::begin_list) began.
    pub fn end_list(&mut self) {
        self.0.push(b'e');
    }

    /// A dict of the keys and values that follow, up to
    /// [`end_dict`](Self::end_dict).
    pub fn begin_dict(&mut self) {
        self.0.extend(b"}(");
    }

    /// Ends what [`begin_dict`](Self::begin_dict) began.
    pub fn end_dict(&mut self) {
        self.0.push(b'u');
    }

    /// Calls what was written before with the tuple that was written last.
    pub fn call(&mut self) {
        self.0.push(b'R');
    }

    /// Makes an object of the class, the tuple and the dict written last.
    pub fn new_object(&mut self) {
        self.0.push(0x92);
    }

    /// Makes an object of the class and the tuple written last.
    #[cfg(feature = "wire")]
    pub(crate) fn new_plain_object(&mut self) {
        self.0.push(0x81);
    }

    /// What was written from a place on.
    pub(crate) fn since(&self, start: usize) -> &[u8] {
        &self.0[start..]
    }

    /// Writes opcodes at an earlier place.
    pub(crate) fn insert(&mut self, at: usize, opcodes: &[u8]) {
        self.0.splice(at..at, opcodes.iter().copied());
    }

    /// Sets the object that was written before up with the state that was written
    /// last.
    pub fn build(&mut self) {
        self.0.push(b'b');
    }

    /// Writes the opcodes of a part that was written elsewhere.
    pub fn part(&mut self, opcodes: &[u8]) {
        self.0.extend(opcodes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Pickle)) -> Vec<u8> {
        let mut pickle = Pickle::new();
        write(&mut pickle);
        pickle.finish()[2..].to_vec()
    }

    #[test]
    fn each_int_has_its_shortest_form() {
        let int = |value| written(|pickle| pickle.int(value));
        assert_eq!(int(0), b"K\0.");
        assert_eq!(int(255), b"K\xff.");
        assert_eq!(int(256), b"M\0\x01.");
        assert_eq!(int(-1), b"J\xff\xff\xff\xff.");
        assert_eq!(int(1 << 31), b"\x8a\x05\0\0\0\x80\0.");
        assert_eq!(int(-(1 << 31) - 1), b"\x8a\x05\xff\xff\xff\x7f\xff.");
        assert_eq!(int(i128::from(i64::MIN)), b"\x8a\x08\0\0\0\0\0\0\0\x80.");
        assert_eq!(int(i128::from(u64::MAX)), b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\0.");
    }

    #[test]
    fn text_and_bytes_have_short_and_long_forms() {
        assert_eq!(written(|p| p.str("é")), b"\x8c\x02\xc3\xa9.");
        assert_eq!(written(|p| p.bytes(b"\0\xff")), b"C\x02\0\xff.");
        assert_eq!(written(|p| p.str(&"x".repeat(256)))[..5], *b"X\0\x01\0\0");
        assert_eq!(written(|p| p.bytes(&[7; 300]))[..5], *b"B\x2c\x01\0\0");
        assert_eq!(written(|p| p.float(1.5)), b"G\x3f\xf8\0\0\0\0\0\0.");
    }

    /// The call of 6.4 in the specification.
    #[test]
    fn a_call_is_a_global_a_tuple_and_an_opcode() {
        let call = written(|pickle| {
            pickle.global("testmod", "echo");
            pickle.bytes(b"\0\xff");
            pickle.tuple_of_one();
            pickle.call();
        });
        assert_eq!(call, b"\x8c\x07testmod\x8c\x04echo\x93C\x02\0\xff\x85R.");
    }
}
