//! What wants somebody's attention in a view.
//!
//! Pure. The bounds are those at which a person looks, and no promise.

use super::view::{Alert, Crash, Current, Function, Line, View, Worker};

/// A crash is told for so long.
const RECENT_MS: f64 = 600_000.0;

/// A wait that is told.
const LONG_WAIT_MS: f64 = 10_000.0;

/// A run that is told where nothing is known of others.
const LONG_RUN_MS: f64 = 60_000.0;

/// A run shorter than this is not told, whatever the others took.
const SHORT_RUN_MS: f64 = 5_000.0;

/// So many crashes in that time are more than a bad request or two.
const MANY_CRASHES: usize = 5;

/// How many runs of a function tell how long it takes.
const ENOUGH_RUNS: u64 = 10;

/// All alerts of a view, the severe ones first.
pub(super) fn all(view: &View) -> Vec<Alert> {
    let mut alerts = Vec::new();
    alerts.extend(closed(view));
    alerts.extend(missing(view));
    alerts.extend(queue(view));
    alerts.extend(
        view.queue.iter().max_by(|a, b| a.oldest_ms.total_cmp(&b.oldest_ms)).and_then(waits),
    );
    alerts.extend(view.workers.iter().filter_map(|worker| stuck(view, worker)));
    alerts.extend(crashed(view));
    alerts.sort_by_key(|alert| !alert.severe);
    alerts
}

fn severe(key: &str, text: String) -> Alert {
    Alert { key: key.to_owned(), severe: true, text }
}

fn mild(key: &str, text: String) -> Alert {
    Alert { key: key.to_owned(), severe: false, text }
}

fn closed(view: &View) -> Option<Alert> {
    let left = view.tasks.running + view.tasks.queued;
    let text = match left {
        0 => "No tasks are accepted: the client was drained or shut down.".to_owned(),
        1 => "No tasks are accepted; 1 task is left to finish.".to_owned(),
        _ => format!("No tasks are accepted; {left} tasks are left to finish."),
    };
    (!view.open).then(|| severe("closed", text))
}

/// Workers that are not up. Those of an elastic pool come and go, down to the fewest.
fn missing(view: &View) -> Vec<Alert> {
    let up = view.workers.iter().filter(|worker| worker.state != "standby").count();
    let all = ("", up + view.more_workers, view.least_workers);
    let pools = view.pools.iter().map(|pool| (pool.pool.as_str(), pool.up, pool.least_workers));
    let lacking = pools.chain(view.pools.is_empty().then_some(all)).filter_map(lacks);
    lacking.filter(|_| view.open).collect()
}

fn lacks((pool, up, least): (&str, usize, usize)) -> Option<Alert> {
    let (key, of) = match pool {
        "" => ("workers".to_owned(), String::new()),
        pool => (format!("workers {pool}"), format!(" of pool {pool}")),
    };
    match up {
        up if up >= least => None,
        0 => Some(severe(&key, format!("No worker{of} is up: nothing is computed."))),
        _ => Some(mild(&key, format!("{up} of {least} workers{of} are up."))),
    }
}

fn queue(view: &View) -> Option<Alert> {
    let (queued, limit) = (view.tasks.queued, view.admission.queue_limit);
    let wait_ms = view.admission.predicted_wait_ms;
    if 4 * queued > 3 * limit && limit > 0 {
        let part = 100 * queued / limit;
        let refused = view.admission.refused;
        let text = format!(
            "The queue is {part} % full: {queued} of {limit} tasks; {refused} refused so far."
        );
        return Some(severe("queue", text));
    }
    let text = || format!("A new task would wait {}.", time(wait_ms));
    (wait_ms > LONG_WAIT_MS).then(|| mild("predicted wait", text()))
}

fn waits(line: &Line) -> Option<Alert> {
    let whose = match &line.tenant {
        Some(tenant) => format!(" of {tenant}"),
        None => String::new(),
    };
    let text = || format!("A task{whose} has waited for {}.", time(line.oldest_ms));
    let key = || format!("wait{whose}");
    (line.oldest_ms > LONG_WAIT_MS).then(|| mild(&key(), text()))
}

fn stuck(view: &View, worker: &Worker) -> Option<Alert> {
    let task = worker.task.as_ref()?;
    let known = view.functions.iter().find(|row| row.function == task.function);
    let why = known.and_then(|row| slower(row, task))?;
    let (number, run) = (worker.number, time(task.run_ms));
    let text = format!("Worker {number} has run {} for {run}: {why}.", task.function);
    Some(mild(&format!("task {}", task.task), text))
}

/// Why a run is long, if it is.
fn slower(row: &Function, task: &Current) -> Option<String> {
    let longest_ms = row.run.max_ms;
    if row.outcomes.done < ENOUGH_RUNS {
        return (task.run_ms > LONG_RUN_MS).then(|| "a long time".to_owned());
    }
    let long = task.run_ms > SHORT_RUN_MS && task.run_ms > 2.0 * longest_ms;
    long.then(|| format!("its longest run before took {}", time(longest_ms)))
}

fn crashed(view: &View) -> Option<Alert> {
    let recent = |crash: &&Crash| view.uptime_ms - crash.at_ms < RECENT_MS;
    let crashes: Vec<_> = view.crashes.iter().filter(recent).collect();
    let last = crashes.last()?;
    let ago = time(view.uptime_ms - last.at_ms);
    let cause = last.shortage.as_ref().or(last.cause.as_ref());
    let cause = cause.map_or("the cause is not known", String::as_str);
    let whose = match last.function.as_str() {
        "" => "without a task".to_owned(),
        function => format!("in {function}"),
    };
    let count = match crashes.len() {
        1 => "A worker crashed".to_owned(),
        // So many reports are kept.
        16.. => "16 workers or more crashed".to_owned(),
        count => format!("{count} workers crashed"),
    };
    let text = format!("{count} in the last ten minutes; the last one {ago} ago {whose}: {cause}.");
    // One more is news.
    let key = format!("crash at {}", last.at_ms);
    Some(Alert { key, severe: crashes.len() >= MANY_CRASHES, text })
}

/// A time as people say it, roughly.
fn time(ms: f64) -> String {
    let seconds = (ms / 1_000.0).max(0.0) as u64;
    match seconds {
        0 => "less than a second".to_owned(),
        1..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::{Admission, Outcomes, Pool, Tasks, Times};
    use super::*;

    /// An open engine with one idle worker, where all is well.
    fn well() -> View {
        let worker = Worker { number: 1, state: "idle".to_owned(), ..Worker::default() };
        let admission = Admission { queue_limit: 100, ..Admission::default() };
        View {
            open: true,
            wanted_workers: 1,
            least_workers: 1,
            most_workers: 1,
            uptime_ms: 1e6,
            workers: vec![worker],
            admission,
            ..View::default()
        }
    }

    fn texts(view: &View) -> Vec<String> {
        all(view).into_iter().map(|alert| alert.text).collect()
    }

    #[test]
    fn nothing_is_said_where_all_is_well() {
        assert_eq!(texts(&well()), Vec::<String>::new());
    }

    #[test]
    fn what_stops_requests_comes_first() {
        let mut view = well();
        view.workers.clear();
        view.tasks = Tasks { queued: 80, ..Tasks::default() };
        view.queue = vec![Line { oldest_ms: 11_000.0, ..Line::default() }];
        assert_eq!(
            texts(&view),
            [
                "No worker is up: nothing is computed.",
                "The queue is 80 % full: 80 of 100 tasks; 0 refused so far.",
                "A task has waited for 11 s.",
            ]
        );
    }

    #[test]
    fn each_pool_is_told_of_and_one_that_may_be_empty_is_well() {
        let mut view = well();
        let pool = |pool: &str, up, least_workers| Pool {
            pool: pool.to_owned(),
            up,
            least_workers,
            ..Pool::default()
        };
        view.pools = vec![pool("default", 2, 3), pool("gpu", 0, 1), pool("elastic", 0, 0)];
        let gpu = "No worker of pool gpu is up: nothing is computed.";
        assert_eq!(texts(&view), [gpu, "2 of 3 workers of pool default are up."]);
    }

    #[test]
    fn a_run_is_long_by_what_others_of_its_function_took() {
        let mut view = well();
        let mut run = |run_ms: f64, done: u64, max_ms: f64| {
            let function = "f".to_owned();
            view.workers[0].task =
                Some(Current { function: function.clone(), run_ms, ..Current::default() });
            let outcomes = Outcomes { done, ..Outcomes::default() };
            let times = Times { max_ms, ..Times::default() };
            view.functions =
                vec![Function { function, outcomes, run: times, ..Function::default() }];
            texts(&view)
        };
        assert_eq!(run(4_000.0, 50, 1.0), Vec::<String>::new());
        assert_eq!(run(90_000.0, 50, 80_000.0), Vec::<String>::new());
        assert_eq!(
            run(90_000.0, 50, 30_000.0),
            ["Worker 1 has run f for 90 s: its longest run before took 30 s."]
        );
        assert_eq!(run(180_000.0, 0, 0.0), ["Worker 1 has run f for 3 min: a long time."]);
    }

    #[test]
    fn an_alert_keeps_its_key_while_it_lasts_and_another_crash_has_another() {
        let keys =
            |view: &View| -> Vec<String> { all(view).into_iter().map(|alert| alert.key).collect() };
        let mut view = well();
        let crash = |at_ms| Crash { at_ms, function: "f".to_owned(), ..Crash::default() };
        view.crashes = vec![crash(999_000.0)];
        view.queue = vec![Line { oldest_ms: 11_000.0, ..Line::default() }];
        let first = keys(&view);
        view.uptime_ms += 5_000.0;
        view.queue[0].oldest_ms += 5_000.0;
        assert_eq!((first.len(), &first), (2, &keys(&view)));
        view.crashes.push(crash(1_004_000.0));
        assert_ne!(first, keys(&view));
    }

    #[test]
    fn crashes_are_told_for_ten_minutes() {
        let mut view = well();
        let crash = |at_ms: f64| Crash {
            at_ms,
            cause: Some("killed by SIGSEGV".to_owned()),
            function: "f".to_owned(),
            ..Crash::default()
        };
        view.crashes = vec![crash(100.0)];
        assert_eq!(texts(&view), Vec::<String>::new());
        view.crashes.extend([crash(900_000.0), crash(995_000.0)]);
        assert_eq!(
            texts(&view),
            [
                "2 workers crashed in the last ten minutes; the last one 5 s ago in f: killed by SIGSEGV."
            ]
        );
    }
}
