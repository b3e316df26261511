//! What makes two submits the same: function, tenant, pool, and name or arguments.

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
    /// Where one gate has workers of several.
    pool: Option<Arc<str>>,
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
    /// Tenant, pool, and name or arguments, for a digest.
    #[cfg(feature = "dask")]
    pub(crate) fn parts(&self) -> [&[u8]; 3] {
        let [tenant, pool] =
            [&self.tenant, &self.pool].map(|name| name.as_deref().unwrap_or_default().as_bytes());
        match &self.identity {
            Identity::Args(args) => [tenant, pool, &args.0],
            Identity::Named(name) => [tenant, pool, name.as_bytes()],
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
        let (tenant, pool) = (request.options.tenant.clone(), request.options.pool.clone());
        Some(Self { function: request.function.number, tenant, pool, identity })
    }
}
