//! What makes two submits the same: function, tenant, and name or arguments.

use std::sync::Arc;

use super::Request;

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
    Args(Vec<u8>),
    Named(Arc<str>),
}

impl Key {
    /// Tenant and name or arguments, each after its length, for a digest.
    #[cfg(feature = "dask")]
    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        let tenant = self.tenant.as_deref().unwrap_or_default().as_bytes();
        match &self.identity {
            Identity::Args(args) => [tenant, args],
            Identity::Named(name) => [tenant, name.as_bytes()],
        }
    }

    /// The key of a submit that may share a task.
    pub(crate) fn of(request: &Request<'_>) -> Option<Self> {
        let identity = match &request.options.key {
            Some(name) => Identity::Named(name.clone()),
            None if request.function.pure => Identity::Args(request.args.as_ref()?.to_vec()),
            None => return None,
        };
        let tenant = request.options.tenant.clone();
        Some(Self { function: request.function.number, tenant, identity })
    }
}
