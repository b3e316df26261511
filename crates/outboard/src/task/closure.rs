//! Calls a function of this binary in another process of the same binary.
//!
//! A task function is *known* by its `TypeId` and only ever *called* by
//! address. Two facts about Rust make that work, and both need `unsafe`:
//!
//! * A function item, or a closure that captures nothing, has size zero. Its type is all
//!   there is of it, so a value can be made from nothing.
//! * Every process that runs the same executable has the same code, shifted as
//!   a whole by address space randomisation. So a function pointer travels as
//!   its distance from a function that both know.

#![expect(unsafe_code, reason = "this module owns making a value of size zero, and code addresses")]

use std::ptr::NonNull;

/// Makes a value of a function type that has size zero.
pub(crate) fn conjure<F: Copy + 'static>() -> F {
    // `TaskFunction::HAS_NO_SIZE` says it at compile time, where a function is submitted.
    assert!(size_of::<F>() == 0, "a task function has no size");
    // SAFETY: F has size zero (asserted above), so a read through a dangling,
    // well-aligned, non-null pointer reads no memory and yields its only bit
    // pattern. F is inhabited: every caller is monomorphised for a type of
    // which a value was handed to `submit` or `Entry::new`, and F is `Copy`, so
    // another copy of that value duplicates no ownership. (A closure that
    // captures a value of size zero passes too; what makes such a value a proof
    // of something in one process does not follow it into another.)
    unsafe { NonNull::<F>::dangling().read() }
}

/// Function pointers as distances that hold in every process of this binary.
#[cfg(all(feature = "local", unix))]
pub(crate) mod address {
    #[cfg(all(target_os = "linux", not(outboard_portable)))]
    use std::{ops::Range, sync::OnceLock};

    use crate::task::function::Run;

    /// How far `run` lies from this binary's anchor, or `None` if it lies in
    /// another object, such as a shared library, whose distance may differ.
    pub(crate) fn to_offset(run: Run) -> Option<i64> {
        let address = run as usize;
        is_ours(address).then(|| address as i64 - anchor as fn() as usize as i64)
    }

    /// The function at that distance, or `None` if no code of this binary is
    /// there.
    pub(crate) fn from_offset(offset: i64) -> Option<Run> {
        let address = (anchor as fn() as usize).checked_add_signed(offset as isize)?;
        if !is_ours(address) {
            return None;
        }
        let pointer: *const () = std::ptr::with_exposed_provenance(address);
        // SAFETY: the offset was made by `to_offset` from a valid `Run` in a
        // process of this very executable: the parent started us from its
        // own file, and both compared a digest of file and registry
        // before any task was sent. The address lies in the executable mapping
        // that holds `anchor`, so both were shifted by the same distance.
        Some(unsafe { std::mem::transmute::<*const (), Run>(pointer) })
    }

    /// The function that distances are counted from.
    #[inline(never)]
    fn anchor() {
        std::hint::black_box(());
    }

    /// Whether there is code of this binary: in the executable mapping that has the anchor.
    #[cfg(all(target_os = "linux", not(outboard_portable)))]
    fn is_ours(address: usize) -> bool {
        text().is_some_and(|text| text.contains(&address))
    }

    /// Whether this binary lies there, as the dynamic loader knows.
    #[cfg(not(all(target_os = "linux", not(outboard_portable))))]
    fn is_ours(address: usize) -> bool {
        let base = |address: usize| {
            // SAFETY: an all-zero `Dl_info` is a valid value, and the call only looks
            // the address up.
            unsafe {
                let mut found: libc::Dl_info = std::mem::zeroed();
                let known = libc::dladdr(std::ptr::without_provenance(address), &raw mut found);
                (known != 0).then_some(found.dli_fbase)
            }
        };
        let own = base(anchor as fn() as usize);
        own.is_some() && base(address) == own
    }

    /// The executable mapping of this binary's own code.
    #[cfg(all(target_os = "linux", not(outboard_portable)))]
    fn text() -> Option<&'static Range<usize>> {
        static TEXT: OnceLock<Option<Range<usize>>> = OnceLock::new();
        TEXT.get_or_init(|| {
            let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
            let anchor = anchor as fn() as usize;
            maps.lines().filter_map(mapping).find(|range| range.contains(&anchor))
        })
        .as_ref()
    }

    #[cfg(all(target_os = "linux", not(outboard_portable)))]
    /// The address range of an executable line of `/proc/self/maps`.
    fn mapping(line: &str) -> Option<Range<usize>> {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        if !words.next()?.contains('x') {
            return None;
        }
        Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::error::Step;
        use crate::task::function::run;
        use crate::task::outcome::Failure;
        use crate::value::codec::Input;

        fn run_of<F: crate::task::function::TaskFunction<M>, M>(_: F) -> Run {
            run::<F, M>
        }

        #[test]
        fn an_address_survives_the_journey_as_an_offset() {
            let original = run_of(|x: u64| x + 1);
            let offset = to_offset(original).expect("code of this binary");
            let arrived = from_offset(offset).expect("the same code");
            assert_eq!(arrived(Input::Lent(&[41])).unwrap()[..], [42]);
        }

        #[test]
        fn an_offset_outside_the_code_is_refused() {
            assert!(from_offset(i64::MAX).is_none());
            assert!(from_offset(1 << 40).is_none());
        }

        #[test]
        fn bad_arguments_are_an_error_of_the_codec() {
            let result = run_of(|x: String| x)(Input::Lent(&[200]));
            assert!(
                matches!(result, Err(Failure::Codec { step: Step::DecodeArguments, .. })),
                "{result:?}"
            );
        }
    }
}
