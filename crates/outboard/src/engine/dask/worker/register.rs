//! How a worker registers with a scheduler, and says again and again that it is
//! there.

use std::io;
use std::sync::PoisonError;
use std::time::Duration;

use rmpv::Value;

use super::{End, Worker, now, stimulus};
use crate::engine::dask::Names;
use crate::engine::dask::cluster::{Cluster, NATIVE, check_version};
use crate::engine::dask::connection::Connection;
use crate::engine::dask::graph::resource;
use crate::engine::dask::keeper::ask;
use crate::engine::dask::message::{Message, field, map, text};

/// So much of each resource that it never runs out.
const PLENTY: f64 = 1e9;

impl Worker {
    pub(super) async fn register(&self) -> Result<(Connection, Connection), End> {
        let mut questions = self.dialer.dial(&self.scheduler).await?;
        let no_packages = ("packages", Value::Array(Vec::new()));
        let versions = ask(&mut questions, "versions", [no_packages]).await?.value;
        check_version(&versions).map_err(End::Refused)?;
        let packages = field(&versions, "packages").cloned().unwrap_or(Value::Nil);
        *self.packages.lock().unwrap_or_else(PoisonError::into_inner) = packages.clone();
        let identity = ask(&mut questions, "identity", []).await?.value;
        let cluster = Cluster::read(&identity).unwrap_or_default();
        if !self.mixed && cluster.workers.iter().any(|worker| !worker.native) {
            return Err(End::Refused(
                "it has Python workers, whose tasks and shuffles a native worker would disturb: \
                 give it a cluster of its own, or join all the same with mixed=1"
                    .into(),
            ));
        }
        let mut stream = self.dialer.dial(&self.scheduler).await?;
        let answer = stream.ask(Message::new(self.registration(packages))).await?.value;
        match text(&answer, "status") {
            Some("OK") => Ok((questions, stream)),
            _ => {
                let reason = text(&answer, "message").unwrap_or("it did not take this worker");
                Err(End::Refused(reason.to_owned()))
            }
        }
    }

    fn registration(&self, packages: Value) -> Value {
        let offered = self.functions.iter();
        let offered = offered.map(|function| resource(function.name, function.signature));
        let resources = offered.chain([NATIVE.to_owned()]);
        let resources = resources.map(|name| (name.into(), PLENTY.into())).collect();
        map([
            ("op", "register-worker".into()),
            ("reply", false.into()),
            ("address", self.address.as_str().into()),
            ("status", "running".into()),
            ("server_id", format!("Worker-outboard-{}", Names::default().unique()).into()),
            ("name", self.name.as_str().into()),
            ("nthreads", self.threads.into()),
            ("now", now().into()),
            ("resources", Value::Map(resources)),
            ("memory_limit", self.memory_limit.into()),
            ("local_directory", "".into()),
            ("services", map([])),
            ("nanny", Value::Nil),
            ("pid", std::process::id().into()),
            ("versions", map([("packages", packages)])),
            ("extra", map([])),
            ("stimulus_id", stimulus("worker-connect")),
            ("metrics", self.metrics()),
        ])
    }

    fn metrics(&self) -> Value {
        let snapshot = self.local.snapshot();
        let resident = snapshot.per_worker.iter().filter_map(|worker| worker.memory_bytes);
        let kept = self.stock().bytes();
        let zero = || Value::from(0);
        let transfer = ["incoming_bytes", "incoming_count", "incoming_count_total"];
        let transfer = transfer.into_iter().chain([
            "outgoing_bytes",
            "outgoing_count",
            "outgoing_count_total",
        ]);
        let transfer = transfer.map(|name| (name.into(), zero())).collect();
        map([
            ("bandwidth", map([("total", 1e8.into()), ("workers", map([])), ("types", map([]))])),
            ("digests_total_since_heartbeat", map([])),
            ("memory", (resident.sum::<u64>() + kept as u64).into()),
            ("spilled_bytes", map([("memory", zero()), ("disk", zero())])),
            ("managed_bytes", kept.into()),
            ("cpu", 0.0.into()),
            ("time", now().into()),
            ("num_fds", zero()),
            (
                "task_counts",
                map([("executing", snapshot.running.into()), ("ready", snapshot.queued.into())]),
            ),
            ("event_loop_interval", 0.0.into()),
            ("transfer", Value::Map(transfer)),
            ("host_net_io", map([("read_bps", 0.0.into()), ("write_bps", 0.0.into())])),
            ("host_disk_io", map([("read_bps", 0.0.into()), ("write_bps", 0.0.into())])),
        ])
    }

    pub(super) async fn heartbeat(&self, mut questions: Connection) -> End {
        let mut interval = Duration::from_millis(500);
        loop {
            tokio::time::sleep(interval).await;
            let executing = Value::Map(self.stock().times());
            let fields = [
                ("address", self.address.as_str().into()),
                ("now", now().into()),
                ("metrics", self.metrics()),
                ("executing", executing),
                ("extensions", map([])),
            ];
            let asked = ask(&mut questions, "heartbeat_worker", fields);
            let answer = match tokio::time::timeout(self.silence, asked).await {
                Ok(Ok(answer)) => answer.value,
                Ok(Err(error)) => return End::Broken(error),
                Err(_) => return End::Broken(io::ErrorKind::TimedOut.into()),
            };
            if text(&answer, "status") == Some("missing") {
                return End::Broken(io::Error::other("it has forgotten this worker"));
            }
            let seconds = field(&answer, "heartbeat-interval").and_then(Value::as_f64);
            interval = Duration::from_secs_f64(seconds.unwrap_or(0.5).clamp(0.1, 60.0));
        }
    }
}
