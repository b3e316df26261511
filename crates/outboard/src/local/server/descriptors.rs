//! How many workers the limit of open files has room for.

use rustix::process::{Resource, getrlimit};

use crate::error::Error;

/// What this process has open for each worker. It is the socket, twice, the bell, the process
/// or what waits for it, and the output's two pipes.
const EACH: usize = 6;

/// What it needs besides: while workers start, and for the thread that looks after them.
const BESIDE: usize = 16;

/// Refuses more workers and spares than there is room for beside what is open.
///
/// # Errors
///
/// `Unavailable`, with the number that would fit.
pub(super) fn fit(workers: usize, spares: usize) -> Result<(), Error> {
    let open = crate::os::process::descriptors().len();
    within(limit(), open, workers, spares)
}

/// As [`fit`], as if nothing else were open: reads no files.
///
/// # Errors
///
/// As [`fit`].
pub(super) fn fit_alone(workers: usize, spares: usize) -> Result<(), Error> {
    within(limit(), 0, workers, spares)
}

fn limit() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

fn within(limit: usize, open: usize, workers: usize, spares: usize) -> Result<(), Error> {
    let room = limit.saturating_sub(open + BESIDE) / EACH;
    if workers.saturating_add(spares) <= room {
        return Ok(());
    }
    let what = match room.saturating_sub(spares) {
        0 => "no worker fits beside the spares".into(),
        most => format!("at most {most} fit"),
    };
    Err(Error::unavailable(format!(
        "workers ({workers}) and spares ({spares}) need {EACH} descriptors each. {open} are open, \
         and the limit is {limit}: {what}. Ask for fewer, or raise the limit (`ulimit -n`, \
         `LimitNOFILE=`)"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_that_is_said_to_fit_fits() {
        for limit in 0..300 {
            for spares in 0..4 {
                let Err(error) = within(limit, 10, 1_000, spares) else { panic!("{limit}") };
                let error = error.to_string();
                let Some(rest) = error.split_once("at most ").map(|(_, rest)| rest) else {
                    assert!(within(limit, 10, 1, spares).is_err(), "{error}");
                    continue;
                };
                let most = rest.split(' ').next().unwrap().parse().unwrap();
                assert!(within(limit, 10, most, spares).is_ok(), "{error}");
                assert!(within(limit, 10, most + 1, spares).is_err(), "{error}");
            }
        }
        assert!(within(1024, 10, usize::MAX, usize::MAX).is_err());
    }
}
