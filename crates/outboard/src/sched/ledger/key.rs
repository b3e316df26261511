//! What makes two submits the same: function, tenant, and name or arguments.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::Request;
use crate::value::payload::Payload;

/// Compared by bytes, not by hash alone.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// By the number that this process counts it by.
    function: usize,
    tenant: Option<Arc<str>>,
    identity: Identity,
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Identity {
    Args(Encoded),
    Named(Arc<str>),
}

/// Encoded arguments, which are large only where the task has the same ones.
#[derive(Debug)]
struct Encoded(Payload);

impl PartialEq for Encoded {
    fn eq(&self, other: &Self) -> bool {
        self.0.is_same(&other.0)
    }
}

impl Eq for Encoded {}

impl Hash for Encoded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.len().hash(state);
        self.0.feed(state);
    }
}

impl Key {
    /// Tenant and name or arguments, each after its length, for a digest.
    #[cfg(feature = "dask")]
    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        let tenant = self.tenant.as_deref().unwrap_or_default().as_bytes();
        match &self.identity {
            Identity::Args(args) => [tenant, &args.0],
            Identity::Named(name) => [tenant, name.as_bytes()],
        }
    }

    /// What it holds in memory that nothing else does, in bytes; the tenant's name is not
    /// its own.
    pub(super) fn held_bytes(&self) -> usize {
        match &self.identity {
            Identity::Named(name) => name.len(),
            Identity::Args(Encoded(Payload::Shared(_) | Payload::Pieces(_))) => 0,
            Identity::Args(args) => args.0.len(),
        }
    }

    /// The key of a submit that may share a task.
    pub(crate) fn of(request: &Request<'_>) -> Option<Self> {
        let identity = match &request.options.key {
            Some(name) => Identity::Named(name.clone()),
            None if request.function.pure => {
                Identity::Args(Encoded(request.args.as_ref()?.payload.clone()))
            }
            None => return None,
        };
        let tenant = request.options.tenant.clone();
        Some(Self { function: request.function.number, tenant, identity })
    }
}
