//! A server with one event-loop thread, as a Tornado application has.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use axum::Router;
use tokio::sync::oneshot;

/// The servers that run, by their ports.
static RUNNING: Mutex<Option<HashMap<u16, Running>>> = Mutex::new(None);

struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// Serves an application on 127.0.0.1, by one thread of its own.
///
/// A cell that runs again replaces its server.
///
/// # Panics
///
/// If another program has the port.
pub fn serve(port: u16, app: Router) {
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let running = running.get_or_insert_default();
    if let Some(before) = running.remove(&port) {
        // It may have ended by itself.
        let _ = before.stop.send(());
        let _ = before.thread.join();
    }
    let listener = TcpListener::bind(("127.0.0.1", port))
        .unwrap_or_else(|error| panic!("cannot serve on port {port}: {error}"));
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::spawn(move || run(listener, app, stopped));
    running.insert(port, Running { stop, thread });
    println!("serving http://127.0.0.1:{port}/");
}

fn run(listener: TcpListener, app: Router, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime needs a few descriptors only");
    runtime.block_on(async {
        listener.set_nonblocking(true).expect("a listener can be made so");
        let listener = tokio::net::TcpListener::from_std(listener).expect("it is a listener");
        tokio::select! {
            ended = axum::serve(listener, app) => ended.expect("axum::serve returns no error"),
            _ = stopped => {}
        }
    });
}
