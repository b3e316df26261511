use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use frameworks::fib::Number;
use frameworks::fib::fib_client::FibClient;
use frameworks::fib::fib_server::{Fib, FibServer};
use outboard::Client;
use outboard_web::{Compute, Offload, Problem};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};

use crate::conformance::{Scratch, crash, eventually, hold, lives, run};

/// What a number asks the service for.
const QUICK: u64 = 0;
const HOLD: u64 = 1;
const CRASH: u64 = 2;

struct Service {
    at: PathBuf,
}

#[tonic::async_trait]
impl Fib for Service {
    async fn compute(&self, request: Request<Number>) -> Result<Response<Number>, Status> {
        let compute = request.extensions().get::<Compute>().unwrap().clone();
        let value = match request.into_inner().value {
            HOLD => compute.submit(hold, self.at.clone()).await.map_err(Problem::from)?.into(),
            CRASH => {
                compute.submit(crash, ()).await.map_err(Problem::from)?;
                0
            }
            other => other,
        };
        Ok(Response::new(Number { value }))
    }
}

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

async fn start(client: Client, scratch: &Scratch) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tonic::transport::Server::builder()
        .layer(Offload::new(client.clone()).grpc_timeout())
        .add_service(FibServer::new(Service { at: scratch.path() }));
    let ended = tokio::spawn(async move {
        let stopped = async {
            // A test that has failed, or is done, stops no server.
            if stopped.await.is_err() {
                std::future::pending().await
            }
        };
        let incoming = TcpListenerStream::new(listener);
        server.serve_with_incoming_shutdown(incoming, stopped).await.unwrap();
        client.shutdown().await;
    });
    Server { address, stop, ended }
}

async fn connect(server: &Server) -> FibClient {
    FibClient::connect(format!("http://{}", server.address)).await.unwrap()
}

/// Calls the method on a task of its own.
async fn call(server: &Server, value: u64) -> JoinHandle<Result<u64, Status>> {
    let mut client = connect(server).await;
    tokio::spawn(async move { Ok(client.compute(Number { value }).await?.into_inner().value) })
}

async fn answer(server: &Server, value: u64) -> Result<u64, Status> {
    call(server, value).await.await.unwrap()
}

async fn one_worker() -> Client {
    Client::local().workers(1).spares(0).queue_tasks(1).await.unwrap()
}

#[test]
fn a_call_that_is_cancelled_stops_its_task() {
    run(async {
        for keep_connection in [true, false] {
            let (client, scratch) = (one_worker().await, Scratch::new());
            let server = start(client.clone(), &scratch).await;
            let connection = connect(&server).await;
            let mut caller = connection.clone();
            let call = tokio::spawn(async move { caller.compute(Number { value: HOLD }).await });
            scratch.started().await;
            let connection = keep_connection.then_some(connection);
            call.abort();
            let noticed = || client.admin().snapshot().cancelled == 1;
            eventually(&format!("it is cancelled: {keep_connection}"), noticed).await;
            assert!(!scratch.is_finished());
            if let Some(mut connection) = connection {
                let answer = connection.compute(Number { value: QUICK }).await.unwrap();
                assert_eq!(answer.into_inner().value, QUICK, "the connection goes on");
            }
        }
    });
}

#[test]
fn the_deadline_of_a_call_is_its_tasks() {
    run(async {
        let (client, scratch) = (one_worker().await, Scratch::new());
        let server = start(client.clone(), &scratch).await;
        let mut request = Request::new(Number { value: HOLD });
        // A client that does not keep to its own deadline: the server's answer is seen.
        request.metadata_mut().insert("grpc-timeout", "300m".parse().unwrap());
        let status = connect(&server).await.compute(request).await.unwrap_err();
        assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
        let ended = || {
            let now = client.admin().snapshot();
            now.timed_out + now.cancelled == 1 && now.running == 0
        };
        eventually("the task is stopped", ended).await;
        assert!(!scratch.is_finished());

        let now = client.admin().snapshot();
        let mut request = Request::new(Number { value: HOLD });
        request.set_timeout(Duration::from_secs(600));
        let mut caller = connect(&server).await;
        let call = tokio::spawn(async move { caller.compute(request).await });
        let running = || client.admin().snapshot().running == 1;
        eventually("it runs", running).await;
        scratch.release();
        assert!(call.await.unwrap().is_ok(), "what is in time is answered: {now:?}");
    });
}

#[test]
fn errors_are_statuses() {
    run(async {
        let (client, scratch) = (one_worker().await, Scratch::new());
        let server = start(client.clone(), &scratch).await;
        let crashed = answer(&server, CRASH).await.unwrap_err();
        assert_eq!(crashed.code(), Code::Internal);
        assert!(!crashed.message().contains("SIGABRT"), "{crashed:?}");

        let running = call(&server, HOLD).await;
        scratch.started().await;
        let waiting = call(&server, HOLD).await;
        eventually("one waits", || client.admin().snapshot().queued == 1).await;
        let refused = answer(&server, HOLD).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        let pushback = refused.metadata().get("grpc-retry-pushback-ms").expect("when to come back");
        assert!(pushback.to_str().unwrap().parse::<u64>().unwrap() >= 1, "{refused:?}");
        scratch.release();
        for held in [running, waiting] {
            held.await.unwrap().unwrap();
        }
    });
}

#[test]
fn a_server_that_ends_answers_what_runs_and_leaves_no_worker() {
    run(async {
        let (client, scratch) = (one_worker().await, Scratch::new());
        let server = start(client.clone(), &scratch).await;
        let running = call(&server, HOLD).await;
        scratch.started().await;
        let worker = scratch.pid();
        server.stop.send(()).unwrap();
        scratch.release();
        running.await.unwrap().expect("what runs is answered");
        server.ended.await.unwrap();
        assert!(!lives(worker), "a worker is left");
        assert!(client.submit(|| 1_u8, ()).await.unwrap_err().is_closed());
    });
}
