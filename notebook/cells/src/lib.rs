//! What the cells of the notebook would only repeat.

mod browser;
mod calibration;
mod figure;
mod plot;
mod server;

pub use browser::measure;
pub use calibration::n_that_takes;
pub use plot::Plot;
pub use server::serve;

// Linked into this library, so that its table of tasks has them.
pub use tasks;
