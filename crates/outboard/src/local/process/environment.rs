//! The environment of this process, to be had back as it was.

#![expect(unsafe_code, reason = "the environment is a variable of the C library")]

use std::ffi::{CString, c_char};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::ptr::null_mut;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{Relaxed, Release};

// SAFETY: so POSIX declares it.
unsafe extern "C" {
    static mut environ: *mut *mut c_char;
}

/// The environment as it was. Never freed: whoever reads one may do so for ever.
pub(crate) struct Environment {
    entries: &'static [AtomicPtr<c_char>],
    before: Vec<AtomicPtr<c_char>>,
}

impl Environment {
    /// Takes a copy, and makes it the environment.
    pub(crate) fn keep() -> Self {
        let entry = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            let text = [name.as_bytes(), b"=", &value.into_vec()].concat();
            CString::new(text).expect("the environment has no zero in it").into_raw()
        };
        let copied: Vec<_> = std::env::vars_os().map(entry).chain([null_mut()]).collect();
        let words = || copied.iter().map(|entry| AtomicPtr::new(*entry)).collect::<Vec<_>>();
        let kept = Self { entries: words().leak(), before: words() };
        kept.make_current();
        kept
    }

    /// Sets it back to what it was; whether it had changed.
    ///
    /// It compares addresses: the C library changes no entry in its place.
    pub(crate) fn restore(&self) -> bool {
        let here = current().load(Relaxed) == self.address();
        let same = || {
            let mut both = self.entries.iter().zip(&self.before);
            both.all(|(now, before)| now.load(Relaxed) == before.load(Relaxed))
        };
        let changed = !(here && same());
        if changed {
            for (now, before) in self.entries.iter().zip(&self.before) {
                now.store(before.load(Relaxed), Relaxed);
            }
            self.make_current();
        }
        changed
    }

    fn make_current(&self) {
        current().store(self.address(), Release);
    }

    fn address(&self) -> *mut *mut c_char {
        self.entries.as_ptr().cast_mut().cast()
    }
}

/// Where the C library finds the environment. POSIX lets a program change it; who reads
/// it at the same time finds the one or the other, and both stay.
fn current() -> &'static AtomicPtr<*mut c_char> {
    // SAFETY: the variable lives as long as the process, and is aligned as a pointer is.
    // What the C library does with it at the same time is one load or store of a word.
    unsafe { AtomicPtr::from_ptr(&raw mut environ) }
}
