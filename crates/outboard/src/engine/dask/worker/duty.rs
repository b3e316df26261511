//! What a scheduler wants of a worker, and what becomes of it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rmpv::Value;

use super::spec::{self, Spec, Unfit};
use super::stock::Wanted;
use super::{End, Execution, Worker, exception, now, peers, stimulus};
use crate::engine::dask::cluster::Cluster;
use crate::engine::dask::keeper::ask;
use crate::engine::dask::message::{Message, Serialized, field, list, map, text};
use crate::engine::dask::native::{Done, Failed};
use crate::engine::dask::values;
use crate::ledger::Report;
use crate::wire::Usage;

/// For how long a stray makes the worker step back, at first and at most.
const BACK: Duration = Duration::from_millis(50);
const LONGEST_BACK: Duration = Duration::from_secs(5);

impl Worker {
    pub(super) fn take(self: &Arc<Self>, one: &Value, message: &Message) -> Option<End> {
        let key = || text(one, "key").unwrap_or_default();
        let stimulus = || field(one, "stimulus_id").cloned().unwrap_or(Value::Nil);
        let keys = || list(one, "keys").iter().filter_map(Value::as_str);
        match text(one, "op").unwrap_or_default() {
            "compute-task" => self.compute(key(), one, message),
            "free-keys" => keys().for_each(|key| self.stock().free(key)),
            "cancel-compute" => self.stock().free(key()),
            "remove-replicas" => keys().for_each(|key| self.stock().drop_data(key)),
            "acquire-replicas" => {
                let (worker, one) = (self.clone(), one.clone());
                self.beside(async move {
                    let who_has = field(&one, "who_has");
                    let missing = peers::fetch(&worker, who_has).await;
                    let all = who_has.and_then(Value::as_map).map_or(&[][..], Vec::as_slice);
                    let got = all.iter().map(|(key, _)| key.clone());
                    let got = got.filter(|key| !missing.contains(key)).collect();
                    let stimulus = field(&one, "stimulus_id").cloned().unwrap_or(Value::Nil);
                    let fields = [("keys", Value::Array(got)), ("stimulus_id", stimulus)];
                    worker.say("add-keys", fields);
                });
            }
            "steal-request" => {
                // What is here is in the queue of the worker processes already.
                let state = match self.stock().executing(key()) {
                    Some(_) => "executing".into(),
                    None => Value::Nil,
                };
                let fields = [("key", key().into()), ("state", state), ("stimulus_id", stimulus())];
                self.say("steal-response", fields);
            }
            "worker-status-change" => {
                let status = field(one, "status").cloned().unwrap_or(Value::Nil);
                self.say("worker-status-change", [("status", status), ("stimulus_id", stimulus())]);
            }
            "close" | "close-stream" => return Some(End::Closed),
            _ => {}
        }
        None
    }

    fn compute(self: &Arc<Self>, key: &str, one: &Value, message: &Message) {
        let run_id = field(one, "run_id").cloned().unwrap_or(Value::Nil);
        match self.stock().wants(key, &run_id) {
            Wanted::Known => return,
            Wanted::Done(bytes) => return self.finished(key, run_id, bytes, Duration::ZERO),
            Wanted::Start => {}
        }
        let pickle = field(one, "run_spec").and_then(|place| message.pickled(place).ok());
        match pickle.map_or(Err(Unfit::Stray), |pickle| spec::read(&pickle)) {
            Ok(spec) => self.execute(key.to_owned(), run_id, spec, priority(one)),
            Err(Unfit::Wrong(line)) => {
                self.erred(key, run_id, exception(&line), &line);
            }
            Err(Unfit::Stray) => self.stray(key.to_owned(), run_id),
        }
    }

    fn execute(self: &Arc<Self>, key: String, run_id: Value, mut spec: Spec, priority: i32) {
        let mut client = self.local.priority(priority);
        if let Some(ms) = spec.timeout_ms {
            client = client.timeout(Duration::from_millis(ms));
        }
        if spec.function.pure {
            // What is shared has one key on the cluster already; the same call of
            // another tenant has another.
            client = client.key(&key);
        }
        let future = client.submit_encoded(spec.function, std::mem::take(&mut spec.args));
        let worker = self.clone();
        // The lock is held until it is known: it may end at once.
        let mut stock = self.stock();
        let number = stock.number();
        let name = key.clone();
        let task = tokio::spawn(async move {
            let ended = future.with_report().await;
            let Some(run_id) = worker.stock().ended(&name, number) else { return };
            match ended.map(|(output, report)| (spec.result(&output, &report), report)) {
                Ok((Ok(object), report)) => {
                    let bytes = worker.stock().keep(name.clone(), object);
                    worker.finished(&name, run_id, bytes, report.run_time);
                }
                Ok((Err(line), _)) => worker.erred(&name, run_id, exception(&line), &line),
                Err(error) => {
                    let line = error.to_string();
                    let pickle = match spec.values {
                        true => exception(&line),
                        false => Failed::of(&error).to_exception(&line),
                    };
                    worker.erred(&name, run_id, pickle, &line);
                }
            }
        });
        stock.started(key, number, run_id, Execution(task.abort_handle()));
    }

    fn finished(&self, key: &str, run_id: Value, bytes: usize, run_time: Duration) {
        let stop = now();
        let start = stop - run_time.as_secs_f64();
        let times =
            map([("action", "compute".into()), ("start", start.into()), ("stop", stop.into())]);
        self.say(
            "task-finished",
            [
                ("status", "OK".into()),
                ("key", key.into()),
                ("run_id", run_id),
                ("nbytes", bytes.into()),
                ("type", Value::Nil),
                ("typename", "bytes".into()),
                ("metadata", map([])),
                ("thread", Value::Nil),
                ("startstops", Value::Array(vec![times])),
                ("stimulus_id", stimulus("task-finished")),
            ],
        );
    }

    fn erred(&self, key: &str, run_id: Value, pickle: Vec<u8>, line: &str) {
        let fields = [
            ("status", "error".into()),
            ("key", key.into()),
            ("run_id", run_id),
            ("traceback", Value::Nil),
            ("exception_text", line.into()),
            ("traceback_text", "".into()),
            ("thread", Value::Nil),
            ("startstops", Value::Array(Vec::new())),
            ("stimulus_id", stimulus("task-erred")),
        ];
        self.say_with("task-erred", fields, Some(pickle));
    }

    /// A task that is none of ours goes back where others may execute it; the
    /// worker steps back, longer each time, so that the scheduler chooses another.
    fn stray(self: &Arc<Self>, key: String, run_id: Value) {
        let worker = self.clone();
        self.beside(async move {
            let asked = async {
                let mut questions = worker.dialer.dial(&worker.scheduler).await?;
                ask(&mut questions, "identity", []).await
            };
            let cluster = asked.await.ok().and_then(|answer| Cluster::read(&answer.value));
            if cluster.is_some_and(|cluster| cluster.is_native()) {
                let line = "no worker of this cluster executes it: they are native workers";
                return worker.erred(&key, run_id, exception(line), line);
            }
            let back = {
                let mut strays = worker.strays.lock().unwrap_or_else(PoisonError::into_inner);
                strays.in_a_row = strays.in_a_row.saturating_add(1);
                let back = BACK.saturating_mul(1 << strays.in_a_row.min(10)).min(LONGEST_BACK);
                (!std::mem::replace(&mut strays.paused, true)).then_some(back)
            };
            let status = |status: &str| {
                let fields = [("status", status.into()), ("stimulus_id", stimulus("stray"))];
                worker.say("worker-status-change", fields);
            };
            status("paused");
            worker
                .say("reschedule", [("key", key.into()), ("stimulus_id", stimulus("reschedule"))]);
            let Some(back) = back else { return };
            tokio::time::sleep(back).await;
            worker.strays.lock().unwrap_or_else(PoisonError::into_inner).paused = false;
            status("running");
            tokio::time::sleep(2 * LONGEST_BACK).await;
            let mut strays = worker.strays.lock().unwrap_or_else(PoisonError::into_inner);
            strays.in_a_row = strays.in_a_row.saturating_sub(1);
        });
    }
}

impl Spec {
    /// The value that a client gets: an answer of ours, or one of Python.
    fn result(&self, output: &[u8], report: &Report) -> Result<Serialized, String> {
        if let (true, Some(values)) = (self.values, self.function.values) {
            return (values.output)(output).map(values::from_pickle);
        }
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let usage = Usage {
            run_ns: nanoseconds(report.run_time),
            cpu_ns: report.cpu_time.map(nanoseconds),
            memory_bytes: report.memory_bytes,
            memory_before_bytes: None,
        };
        let done = Done { usage, pid: std::process::id() };
        Ok(values::from_bytes(done.encode(output)))
    }
}

/// A priority as ours: Dask's are lower for what goes first.
fn priority(one: &Value) -> i32 {
    let first = field(one, "priority").and_then(Value::as_array).and_then(|all| all.first());
    let first = first.and_then(Value::as_f64).unwrap_or(0.0);
    (-first) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_first_at_dask_goes_first_here() {
        let with = |first: Value| map([("priority", Value::Array(vec![first, 1.into()]))]);
        assert_eq!(priority(&with((-5).into())), 5);
        assert_eq!(priority(&with(2.0.into())), -2);
        assert_eq!(priority(&Value::Nil), 0);
    }
}
