//! hyper, with nothing but this crate's layers around it: what holds with every framework.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

/// What holds with every framework.
mod conformance;

use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::TryStreamExt;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use outboard::{Client, Error};
use outboard_web::{Compute, Ending, Health, Offload, Problem, Status, Watched};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tower_layer::Layer;
use tower_service::Service;

use conformance::{Server, Setup, crash, hold, two};

outboard::test_worker!();

type Body = UnsyncBoxBody<Bytes, Error>;

fn whole(text: String) -> Body {
    text.map_err(|never| match never {}).boxed_unsync()
}

/// An application as one without a framework has it.
#[derive(Clone)]
struct App {
    at: PathBuf,
}

impl App {
    async fn answer(self, request: Request<Incoming>) -> Result<Body, Problem> {
        let compute = request.extensions().get::<Compute>().expect("the layer is there");
        Ok(whole(match request.uri().path() {
            "/held" => compute.submit(hold, self.at).await?.to_string(),
            "/crash" => format!("{:?}", compute.submit(crash, ()).await?),
            "/stream" => {
                let items = compute.stream(two, self.at).map_ok(|item| Frame::data(item.into()));
                return Ok(StreamBody::new(items).boxed_unsync());
            }
            _ => "quick".to_owned(),
        }))
    }
}

impl Service<Request<Incoming>> for App {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let answer = self.clone().answer(request);
        let refused = |problem: Problem| problem.into_http().map(whole);
        Box::pin(async move { Ok(answer.await.map_or_else(refused, Response::new)) })
    }
}

async fn start(setup: Setup) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, mut stopped) = oneshot::channel::<()>();
    let app = Offload::new(setup.client.clone()).layer(App { at: setup.at });
    let ended = tokio::spawn(async move {
        let graceful = GracefulShutdown::new();
        loop {
            let (stream, _) = tokio::select! {
                accepted = listener.accept() => accepted.unwrap(),
                _ = &mut stopped => break,
            };
            let stream = TokioIo::new(Watched::with_half_close(stream, setup.half_close));
            let service = TowerToHyperService::new(app.clone());
            let mut builder = http1::Builder::new();
            builder.half_close(setup.half_close);
            tokio::spawn(graceful.watch(builder.serve_connection(stream, service)));
        }
        graceful.shutdown().await;
        setup.client.shutdown().await;
    });
    Server { address, stop, ended }
}

conformance::conformance!(start);

#[test]
fn probes_are_a_service_of_two_paths() {
    conformance::run(async {
        let client = Client::connect("inline://?workers=1").await.unwrap();
        let mut health = Health::new(client.clone());
        let ending = Ending::default();
        let mut ask = async |method: &str, path: &str| {
            let mut request = Request::builder().method(method).uri(path).body(()).unwrap();
            request.extensions_mut().insert(ending.clone());
            let Ok(answer) = health.call(request).await;
            answer.status().as_u16()
        };
        for (method, path, status) in [
            ("GET", "/healthz", 200),
            ("HEAD", "/readyz", 200),
            ("POST", "/readyz", 405),
            ("GET", "/", 404),
        ] {
            assert_eq!(ask(method, path).await, status, "{method} {path}");
        }
        ending.set();
        assert_eq!(ask("GET", "/readyz").await, 503, "the server ends");
        assert_eq!(ask("GET", "/healthz").await, 200);
        assert_eq!(Health::new(client.clone()).check(), Ok(()));
        client.shutdown().await;
        assert!(Health::new(client).check().is_err());
    });
}

#[test]
fn the_status_page_is_a_service_below_its_path() {
    conformance::run(async {
        let client = Client::connect("inline://?workers=1").await.unwrap();
        let mut page = Status::new(client.clone()).at("/ops/status/").hosts(["ops.example"]);
        let ask = async |page: &mut Status, method: &str, path: &str, host: &str| {
            let request = Request::builder().method(method).uri(path).header("host", host);
            let request = request.header("x-outboard-status", "1").body(()).unwrap();
            let Ok(answer) = page.call(request).await;
            let policy = answer.headers().get("content-security-policy").is_some();
            assert!(policy, "{path}: each response is bound");
            let (status, body) = (answer.status().as_u16(), answer.into_body());
            // Events never end.
            let bytes = match path.ends_with("/events") {
                true => futures_util::StreamExt::next(&mut body.into_data_stream())
                    .await
                    .unwrap()
                    .unwrap(),
                false => body.collect().await.unwrap().to_bytes(),
            };
            (status, String::from_utf8(bytes.to_vec()).unwrap())
        };
        let own = "127.0.0.1:9000";
        for (method, path, status, says) in [
            ("GET", "/ops/status", 200, "src=\"./status/page.js\""),
            ("GET", "/ops/status/", 200, "src=\"./page.js\""),
            ("GET", "/ops/status/page.js", 200, "import"),
            ("GET", "/ops/status/status.json", 200, "\"engine\":\"inline\""),
            ("GET", "/ops/status/events", 200, "retry"),
            ("GET", "/ops/status/story/x", 400, "names no task"),
            ("GET", "/ops/status/nothing", 404, ""),
            ("GET", "/ops/statuses", 404, ""),
            ("GET", "/status", 404, ""),
            ("POST", "/ops/status", 405, ""),
            ("POST", "/ops/status/drain", 404, ""),
        ] {
            let (got, body) = ask(&mut page, method, path, own).await;
            assert!(got == status && body.contains(says), "{method} {path}: {got} {body}");
        }
        assert_eq!(ask(&mut page, "GET", "/ops/status", "evil.example").await.0, 421);
        assert_eq!(ask(&mut page, "GET", "/ops/status", "ops.example").await.0, 200);
        let mut page = page.controls(true);
        let json = ask(&mut page, "GET", "/ops/status/status.json", own).await.1;
        assert!(json.contains("\"controls\":true"), "{json}");
        assert_eq!(ask(&mut page, "GET", "/ops/status/drain", own).await.0, 405);
        assert_eq!(ask(&mut page, "POST", "/ops/status/cancel/x", own).await.0, 400);
        assert_eq!(ask(&mut page, "POST", "/ops/status/drain", own).await.0, 200);
        assert!(!client.admin().snapshot().open);
    });
}
