//! Functions by their names, as a cluster asks for them: with encoded arguments,
//! or with Python's values.

use super::{Entry, Function, Registry};

impl Registry {
    /// All functions with a name.
    pub(crate) fn all(&self) -> &[Function] {
        &self.functions
    }

    /// The function of that name: called with encoded arguments, or with Python's
    /// values.
    pub(crate) fn named(&'static self, name: &str, values: bool) -> Option<&'static Function> {
        let place = self.functions.binary_search_by_key(&name, |function| function.name).ok()?;
        let functions = if values { &self.with_values } else { &self.functions };
        functions.get(place)
    }
}

impl Entry {
    /// Its place in the registry is the other form's, so workers find it by its
    /// address.
    pub(super) fn with_values(&self, number: usize) -> Function {
        Function { pure: false, number, index: None, run: self.run_values, ..self.function(0) }
    }
}
