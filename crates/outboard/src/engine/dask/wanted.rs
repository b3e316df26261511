//! Pure: what a worker must have to execute a task. Dask calls such things resources: the
//! task function in its version, and the pool, if the task is for one.

use std::sync::Arc;

use super::native::VERSION;
use super::plugin;
use crate::engine::pools::DEFAULT;
use crate::task::registry::Function;

/// What the resource of a pool begins with. Operators write it: `dask worker --resources
/// "pool-gpu=2"`.
const POOL: &str = "pool-";

/// What a worker must have for a task.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) function: &'static Function,
    /// The build of the program beside a Python worker, if the task goes to one.
    pub(crate) build: Option<&'static str>,
    pub(crate) pool: Option<Arc<str>>,
}

impl Wanted {
    /// The resource of workers that know the function; Python's need none.
    pub(super) fn offer(&self) -> Option<String> {
        match self.build {
            _ if self.function.python => None,
            Some(build) => Some(plugin::resource(build, self.function)),
            None => Some(resource(self.function)),
        }
    }

    /// The resources of which the task takes one each.
    pub(super) fn resources(&self) -> Vec<String> {
        self.offer().into_iter().chain(self.pool.as_deref().map(of_pool)).collect()
    }

    /// What is the same for tasks that the same workers can execute.
    pub(super) fn identity(&self) -> (usize, Option<&'static str>, Option<Arc<str>>) {
        (self.function.number, self.build, self.pool.clone())
    }
}

/// The resource of native workers that offer a Rust function in that version, and speak to
/// us as we do.
pub(super) fn resource(function: &Function) -> String {
    format!("outboard:{}:{}.{VERSION}", function.name, function.version)
}

/// What a resource says of a function: its version, and that of what is said to its worker.
/// `None` if it is another one's.
pub(super) fn version_in<'a>(resource: &'a str, function: &Function) -> Option<(&'a str, &'a str)> {
    let (name, version) = resource.strip_prefix("outboard:")?.rsplit_once(':')?;
    version.rsplit_once('.').filter(|_| name == function.name)
}

/// The resource of workers that have a pool.
pub(super) fn of_pool(name: &str) -> String {
    format!("{POOL}{name}")
}

/// The pool that a resource stands for, if it is one's.
pub(super) fn pool_in(resource: &str) -> Option<&str> {
    resource.strip_prefix(POOL)
}

/// The pool for a task: the one that its client names, or else its function. All workers have
/// the default one, so it is named only where the function names another.
pub(super) fn pool_for(named: Option<&Arc<str>>, function: &Function) -> Option<Arc<str>> {
    match named {
        Some(name) if **name == *DEFAULT && function.pool.is_none() => None,
        Some(name) => Some(name.clone()),
        None => function.pool.filter(|name| *name != DEFAULT).map(Into::into),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::function::TaskFunction;
    use crate::task::registry::function;

    fn known<F: TaskFunction<M>, M>(_: F) -> &'static Function {
        function::<F, M>().unwrap()
    }

    #[test]
    fn a_task_takes_one_of_its_function_and_one_of_its_pool() {
        let function = known(|n: u64| n);
        let mut wanted = Wanted { function, build: None, pool: None };
        assert_eq!(wanted.resources(), [resource(function)]);
        let other = wanted.identity();
        wanted.pool = pool_for(Some(&"gpu".into()), function);
        assert_eq!(wanted.resources(), [resource(function), "pool-gpu".into()]);
        assert_ne!(wanted.identity(), other);
        assert_eq!((pool_in("pool-gpu"), pool_in("GPU")), (Some("gpu"), None));
    }

    #[test]
    fn the_default_pool_is_named_where_the_function_names_another() {
        let function = known(|n: u64| n);
        let of_gpu = function.of_pool("gpu");
        let pool = |named: Option<&str>, function| {
            pool_for(named.map(Into::into).as_ref(), function).map(|pool| pool.to_string())
        };
        assert_eq!((pool(None, function), pool(Some("default"), function)), (None, None));
        assert_eq!(pool(None, of_gpu).as_deref(), Some("gpu"));
        assert_eq!(pool(Some("default"), of_gpu).as_deref(), Some("default"));
    }
}
