//! One trace across server and worker, with OpenTelemetry: a span in a handler is
//! the parent of the task's span in the worker process, and what the task says
//! appears in both. The exporter prints the spans; a real one would send them.

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use outboard::{Client, Error};
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[outboard::task]
fn divide(a: u64, b: u64) -> u64 {
    tracing::info!(a, b, "dividing");
    a / b
}

fn main() -> Result<(), Error> {
    outboard::trace::propagate(inject, extract);
    outboard::init_with(subscribe);
    subscribe();
    serve()
}

/// The same in the server and in its workers, where `relay` has something to do.
fn subscribe() {
    let exporter = opentelemetry_stdout::SpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter).build();
    let tracer = provider.tracer("trace");
    opentelemetry::global::set_tracer_provider(provider);
    tracing_subscriber::registry()
        .with(LevelFilter::INFO)
        .with(tracing_opentelemetry::layer().with_tracer(tracer))
        .with(outboard::trace::relay())
        .init();
}

#[tokio::main]
async fn serve() -> Result<(), Error> {
    let client = Client::from_env().await?;
    for b in [2, 0] {
        match handler(&client, b).await {
            Ok(quotient) => println!("6 / {b} = {quotient}"),
            Err(error) => println!("6 / {b}: {error}"),
        }
    }
    client.shutdown().await;
    Ok(())
}

#[tracing::instrument(skip(client))]
async fn handler(client: &Client, b: u64) -> Result<u64, Error> {
    client.submit(divide, (6, b)).await
}

fn inject(span: &tracing::Span) -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&span.context(), &mut carrier);
    carrier.remove("traceparent")
}

fn extract(span: &tracing::Span, context: &str) {
    let carrier = HashMap::from([("traceparent".to_owned(), context.to_owned())]);
    // It fails if the span has started already, which it has not.
    let _ = span.set_parent(TraceContextPropagator::new().extract(&carrier));
}
