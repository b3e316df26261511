//! Libraries that people parse uploads with go on to work in a sandbox: a decoder of images,
//! an archive that is unpacked, a C library with threads of its own, and rayon.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use outboard::{Client, Sandbox};
use rayon::prelude::*;

use crate::support::run;
use crate::support::scratch::Scratch;

const SIDE: u32 = 64;

fn picture() -> Vec<u8> {
    (0..SIDE * SIDE * 3).map(|n| (n * 7 % 251) as u8).collect()
}

/// Pictures as PNG files, each encoded and decoded on a thread of rayon's.
fn pictures() -> bool {
    (0..8).into_par_iter().all(|_| {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, SIDE, SIDE);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header().unwrap().write_image_data(&picture()).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut decoded = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut decoded).unwrap();
        decoded == picture()
    })
}

/// An archive, compressed by a C library on two threads, and unpacked with modes, times and
/// a link.
fn archive(at: &Path) -> String {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, mode) in [("folder/script", 0o750), ("folder/text", 0o640)] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_mtime(1_000_000_000);
        header.set_size(7);
        archive.append_data(&mut header, path, &b"content"[..]).unwrap();
    }
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    archive.append_link(&mut link, "folder/link", "text").unwrap();
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.multithread(2).unwrap();
    encoder.write_all(&archive.into_inner().unwrap()).unwrap();
    let compressed = encoder.finish().unwrap();
    let mut unpacked = Vec::new();
    zstd::Decoder::new(&compressed[..]).unwrap().read_to_end(&mut unpacked).unwrap();
    tar::Archive::new(&unpacked[..]).unpack(at).unwrap();
    let script = at.join("folder/script").metadata().unwrap();
    assert_eq!(script.permissions().mode() & 0o777, 0o750);
    assert_eq!(script.mtime(), 1_000_000_000);
    fs::read_to_string(at.join("folder/link")).unwrap()
}

#[test]
fn parsers_of_uploads_work_in_a_sandbox() {
    run(async {
        let (allowed, outside) = (Scratch::new(), Scratch::new());
        let nothing: [&str; 0] = [];
        let locked = Sandbox::new().no_network().no_exec().read_only(nothing);
        let locked = locked.read_write([allowed.path()]);
        let client = Client::local().workers(1).spares(0).sandbox(locked).await.unwrap();
        assert!(client.submit(pictures, ()).await.unwrap());
        let unpack = |at: PathBuf| archive(&at);
        assert_eq!(client.submit(unpack, allowed.path()).await.unwrap(), "content");
        // An archive that leads out of there has no other way than its library's.
        let error = client.submit(unpack, outside.path()).await.unwrap_err();
        assert!(error.to_string().contains("PermissionDenied"), "{error}");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    });
}
