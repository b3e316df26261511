//! Which code this process runs, whenever its file was touched, and whatever lies at that
//! file's path by now.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

use crate::os::process::program;

/// The most that a segment of notes is read of.
const NOTES_BYTES: u64 = 64 << 10;

/// What tells this code from any other: the identity that the linker gave it, or that of
/// the file that is mapped.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum Code {
    BuildId(Vec<u8>),
    /// Device, inode and size. Not the time: a deploy may touch the file.
    File(u64, u64, u64),
    Unknown,
}

impl Code {
    /// That of this process.
    pub(super) fn running() -> Self {
        let Ok(file) = program().and_then(File::open) else { return Self::Unknown };
        if let Some(id) = build_id(&file) {
            return Self::BuildId(id);
        }
        file.metadata()
            .map_or(Self::Unknown, |file| Self::File(file.dev(), file.ino(), file.size()))
    }
}

/// The build id of a program (elf(5)), if it has one and is of this machine's kind.
fn build_id(file: &File) -> Option<Vec<u8>> {
    /// 64-bit ELF: the magic number, and the class.
    const MAGIC: &[u8] = b"\x7fELF\x02";
    const NOTE: u32 = 4;
    let header = read(file, 0, 64)?;
    if !header.starts_with(MAGIC) {
        return None;
    }
    let (table, entry, entries) =
        (long(&header, 0x20)?, short(&header, 0x36)?, short(&header, 0x38)?);
    (0..entries).find_map(|at| {
        let segment = read(file, table + u64::from(at) * u64::from(entry), 56)?;
        let (offset, bytes) = (long(&segment, 0x08)?, long(&segment, 0x20)?);
        let is_note = word(&segment, 0)? == NOTE && bytes <= NOTES_BYTES;
        let notes = is_note.then(|| read(file, offset, bytes as usize))??;
        of_notes(&notes, long(&segment, 0x30)?.clamp(4, 8) as usize)
    })
}

/// The build id among notes: each has the lengths of its name and of what it says, its
/// type, and then both, padded.
fn of_notes(mut notes: &[u8], align: usize) -> Option<Vec<u8>> {
    const BUILD_ID: u32 = 3;
    loop {
        let (name, says) = (word(notes, 0)? as usize, word(notes, 4)? as usize);
        let start = (12 + name).next_multiple_of(align);
        let found = notes.get(start..start.checked_add(says)?)?;
        if word(notes, 8)? == BUILD_ID && notes.get(12..12 + name)? == b"GNU\0" {
            return Some(found.to_vec());
        }
        notes = notes.get((start + says).next_multiple_of(align)..)?;
    }
}

fn read(file: &File, offset: u64, bytes: usize) -> Option<Vec<u8>> {
    let mut read = vec![0; bytes];
    file.read_exact_at(&mut read, offset).ok()?;
    Some(read)
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(kind: u32, name: &[u8], says: &[u8], align: usize) -> Vec<u8> {
        let lengths = [name.len() as u32, says.len() as u32, kind];
        let mut note: Vec<u8> = lengths.into_iter().flat_map(u32::to_ne_bytes).collect();
        note.extend_from_slice(name);
        note.resize(note.len().next_multiple_of(align), 0);
        note.extend_from_slice(says);
        note.resize(note.len().next_multiple_of(align), 0);
        note
    }

    #[test]
    fn a_build_id_is_found_behind_other_notes() {
        for align in [4, 8] {
            let others = [note(3, b"Other\0", b"no", align), note(1, b"GNU\0", b"abi", align)];
            let mut notes = others.concat();
            assert_eq!(of_notes(&notes, align), None);
            notes.extend(note(3, b"GNU\0", b"identity", align));
            assert_eq!(of_notes(&notes, align).as_deref(), Some(&b"identity"[..]));
            for cut in 0..notes.len() {
                let _ = of_notes(&notes[..cut], align);
            }
        }
        assert_eq!(of_notes(&[0xff; 64], 4), None);
    }

    #[test]
    fn this_program_is_known_and_is_itself() {
        assert_ne!(Code::running(), Code::Unknown);
        assert_eq!(Code::running(), Code::running());
    }

    #[test]
    fn a_file_that_is_no_program_has_none() {
        let file = File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
        assert_eq!(build_id(&file), None);
    }
}
