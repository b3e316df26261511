//! A directory for what tasks note, which goes when it is dropped.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Notes(PathBuf);

impl Notes {
    /// A new one in the system's directory for such.
    pub(super) fn new() -> io::Result<Self> {
        let name = format!("outboard-chaos-{}-{:016x}", std::process::id(), fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        // A task may have given root up before it notes anything.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
        }
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        // What is left is the system's to clear away.
        let _ = fs::remove_dir_all(&self.0);
    }
}
