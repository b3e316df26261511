//! Names of jobs: nobody can guess one, and each is told from those that never were.

use std::hash::{BuildHasher, RandomState};

/// A job, by 128 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id(u128);

impl Id {
    /// # Panics
    ///
    /// If the system has no random numbers.
    pub(super) fn random() -> Self {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the system has random numbers");
        Self(u128::from_ne_bytes(bytes))
    }
}

/// Writes names of jobs, and reads its own.
///
/// A name has the random bits, and a keyed hash of them and of the tenant. So a job that was
/// dropped is known as such without being remembered, to its tenant alone. The hash guards no
/// more than that: what there is can only be found by the random bits.
#[derive(Debug, Default)]
pub(super) struct Names(RandomState);

impl Names {
    pub(super) fn name(&self, id: Id, tenant: Option<&str>) -> String {
        format!("{:032x}{:016x}", id.0, self.0.hash_one((id, tenant)))
    }

    /// The job of a name that was written here, for this tenant.
    pub(super) fn read(&self, name: &str, tenant: Option<&str>) -> Option<Id> {
        let id = Id(u128::from_str_radix(name.get(..32)?, 16).ok()?);
        (self.name(id, tenant) == name).then_some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_where_it_was_written_and_for_its_tenant() {
        let (names, others) = (Names::default(), Names::default());
        let id = Id::random();
        let name = names.name(id, Some("ann"));
        assert_eq!(name.len(), 48);
        assert_eq!(names.read(&name, Some("ann")), Some(id));
        assert_eq!(names.read(&name, Some("bob")), None);
        assert_eq!(names.read(&name, None), None);
        assert_eq!(others.read(&name, Some("ann")), None);
        for wrong in ["", "é", &name[..47], &name.to_uppercase(), &format!("+{}", &name[1..])] {
            assert_eq!(names.read(wrong, Some("ann")), None, "{wrong}");
        }
        assert_ne!(Id::random(), Id::random());
    }
}
