//! Several hosts: scheduler, workers and client in network namespaces of their
//! own, with cables between them that can be pulled.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::cluster::START;
use super::{Release, on_every_release};
use crate::support::process::{Process, stat};
use crate::support::scratch::Scratch;
use crate::support::server::{CLUSTER, SECOND, Server};
use crate::support::{eventually, found};

on_every_release!(
    a_host_that_is_cut_off_costs_its_tasks_alone,
    a_client_that_reaches_the_scheduler_alone_goes_through_it,
);

/// As long as it may take until a host that is cut off is noticed, where silence
/// counts after two seconds, and five at the scheduler.
const NOTICED: Duration = Duration::from_secs(30);

/// Namespaces, each with a cable to a switch in that of the scheduler; they are
/// gone when this is dropped.
struct Network {
    prefix: String,
    hosts: usize,
}

/// The scheduler's place.
const SCHEDULER: &str = "10.77.0.1";

impl Network {
    /// So many hosts beside the scheduler's; `None` where this is not allowed.
    fn new(hosts: usize) -> Option<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let prefix = format!("outboard-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let network = Self { prefix, hosts };
        ip(&["netns", "add", &network.name(0)]).then_some(())?;
        network.build();
        Some(network)
    }

    /// As `new`; says so where it is not allowed.
    fn or_say(hosts: usize) -> Option<Self> {
        let network = Self::new(hosts);
        if network.is_none() {
            // Not by `eprintln!`, which is not shown of a test that passes.
            let _ = writeln!(
                std::io::stderr(),
                "\nNOT TESTED: several hosts, for this user may not make network namespaces\n"
            );
        }
        network
    }

    fn build(&self) {
        let switch = self.name(0);
        let at_switch = |args: &[&str]| must(&[&["-n", &switch], args].concat());
        at_switch(&["link", "add", "switch", "type", "bridge"]);
        at_switch(&["address", "add", &format!("{SCHEDULER}/24"), "dev", "switch"]);
        at_switch(&["link", "set", "switch", "up"]);
        at_switch(&["link", "set", "lo", "up"]);
        for host in 1..=self.hosts {
            let (name, port, place) = (self.name(host), port(host), place(host));
            must(&["netns", "add", &name]);
            let pair = ["type", "veth", "peer", "name", "cable", "netns", &name];
            at_switch(&[&["link", "add", &port][..], &pair].concat());
            at_switch(&["link", "set", &port, "master", "switch", "up"]);
            for args in [
                &["address", "add", &format!("{place}/24"), "dev", "cable"][..],
                &["link", "set", "cable", "up"],
                &["link", "set", "lo", "up"],
            ] {
                must(&[&["-n", &name], args].concat());
            }
        }
    }

    fn name(&self, host: usize) -> String {
        format!("{}-{host}", self.prefix)
    }

    /// Pulls a host's cable: what is on its way is lost, and nobody is told.
    fn cut(&self, host: usize) {
        must(&["-n", &self.name(0), "link", "set", &port(host), "down"]);
    }

    /// Has a host not reach another one.
    fn hide(&self, host: usize, other: usize) {
        must(&["-n", &self.name(host), "route", "add", "blackhole", &place(other)]);
    }

    fn mend(&self, host: usize) {
        must(&["-n", &self.name(0), "link", "set", &port(host), "up"]);
    }

    /// A command that is run at a host.
    fn command(&self, host: usize, program: &std::path::Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name(host))).arg(program);
        command
    }

    /// This binary at a host, with the cluster's URL.
    fn server(&self, host: usize, scenario: &str, second: Option<&Scratch>) -> Server {
        let mut command = self.command(host, &std::env::current_exe().unwrap());
        command.env(CLUSTER, format!("dask://{SCHEDULER}:8786?workers=1&silence_ms=2000"));
        command.envs(second.map(|scratch| (SECOND, scratch.path())));
        Server::start_as(scenario, command)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in 0..=self.hosts {
            ip(&["netns", "delete", &self.name(host)]);
        }
    }
}

/// The switch's end of a host's cable.
fn port(host: usize) -> String {
    format!("port{host}")
}

fn place(host: usize) -> String {
    format!("10.77.0.{}", 1 + host)
}

fn ip(args: &[&str]) -> bool {
    Command::new("ip").args(args).stderr(Stdio::null()).status().is_ok_and(|done| done.success())
}

fn must(args: &[&str]) {
    assert!(ip(args), "ip {} failed", args.join(" "));
}

/// A scheduler at the first host, which loses sight of others soon.
struct Scheduler(Child);

impl Scheduler {
    fn start(network: &Network, release: Release) -> Self {
        let child = network
            .command(0, &release.python())
            .args(["-c", START, "scheduler", "--host", SCHEDULER, "--port=8786"])
            .arg("--dashboard-address=127.0.0.1:0")
            .env("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "5s")
            // The least that it takes.
            .env("DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP", "11s")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Which of two workers has a process.
fn place_of(process: u32, workers: &[Server; 2]) -> usize {
    let parent = stat(process).expect("it lives")[1].clone();
    let found = workers.iter().position(|worker| worker.process().pid.to_string() == parent);
    found.expect("it is a process of one of them")
}

async fn a_host_that_is_cut_off_costs_its_tasks_alone(release: Release) {
    let Some(network) = Network::or_say(3) else { return };
    let _scheduler = Scheduler::start(&network, release);
    let workers = [1, 2].map(|host| network.server(host, "cluster_worker", None));
    for (worker, host) in workers.iter().zip(1..) {
        let joined = worker.joined().await;
        assert!(joined.contains(&format!("as tcp://{}:", place(host))), "{joined}");
    }
    let second = Scratch::new();
    let client = network.server(3, "cluster_client", Some(&second));

    // A worker's host: Dask runs its task again on the other one.
    client.scratch.started(1).await;
    let first = Process::open(client.scratch.pid());
    let at = place_of(first.pid, &workers);
    network.cut(1 + at);
    let cut = Instant::now();
    client.scratch.started(2).await;
    assert!(cut.elapsed() < NOTICED, "it took {:?}", cut.elapsed());
    let other = client.scratch.pid();
    assert_ne!(place_of(other, &workers), at);
    // What it ran over there is not wanted any more.
    first.ends().await;
    client.scratch.release();
    assert_eq!(client.says("first").await, [format!("{other}")]);
    network.mend(1 + at);
    let joins = || {
        let events = workers[at].scratch.notes("events");
        events.iter().filter(|event| event.starts_with("joined ")).count() == 2
    };
    eventually(format_args!("it joins again; {}", workers[at]), joins).await;

    // The client's host: its future ends, and its task too.
    second.started(1).await;
    let running = Process::open(second.pid());
    network.cut(3);
    let cut = Instant::now();
    assert_eq!(client.says("second").await, ["WorkerLost Some(Scheduler)"]);
    assert!(cut.elapsed() < NOTICED, "it took {:?}", cut.elapsed());
    found("the scheduler lets go of its task", || running.has_ended().then_some(())).await;
    network.mend(3);
    assert_eq!(client.says("third").await, ["4"]);
}

async fn a_client_that_reaches_the_scheduler_alone_goes_through_it(release: Release) {
    let Some(network) = Network::or_say(2) else { return };
    let _scheduler = Scheduler::start(&network, release);
    let worker = network.server(1, "cluster_worker", None);
    worker.joined().await;
    network.hide(2, 1);
    let client = network.server(2, "scattering_client", None);
    client.scratch.started(1).await;
    client.scratch.release();
    assert_eq!(client.says("first").await, ["100000"]);
    assert_eq!(client.says("second").await, ["200000"]);
    assert_eq!(client.says("third").await, [(3 << 20).to_string()]);
    // One attempt to connect takes ten seconds to fail there: not each of these does.
    let took: f64 = client.says("took").await[0].parse().unwrap();
    assert!(took < 4.0 * 10.0, "{took} s for five results");
}
