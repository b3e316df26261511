//! One trace across client and cluster: the example with OpenTelemetry is client
//! and native worker, or is started beside a Python worker.

use super::{Release, on_every_release};
use crate::examples::{example, printed};
use crate::support::eventually;
use crate::traces::{check, has_its_fields, named, spans};

on_every_release!(
    a_native_worker_is_part_of_the_trace_and_logs_by_key,
    what_is_said_beside_a_python_worker_comes_back,
);

async fn a_native_worker_is_part_of_the_trace_and_logs_by_key(release: Release) {
    let mut cluster = release.cluster(0).await;
    cluster.add_native_program(example("trace"), "workers=1&spares=0");
    cluster.ready().await;
    let client = printed(example("trace").env("OUTBOARD_URL", cluster.url()));
    // Its spans are printed when they end.
    let count = || named(&spans(&cluster.log()), "cluster_task").len();
    eventually("the native worker has printed its spans", || count() == 2).await;
    let output = format!("{client}\n{}", cluster.log());
    check(&output, true);
    let spans = spans(&output);
    for task in named(&spans, "cluster_task") {
        let of = |name: &str| named(&spans, name).into_iter().map(|span| span.get("TraceId"));
        assert!(of("handler").any(|trace| trace == task.get("TraceId")), "{output}");
        assert!(task.text.contains("trace::divide-"), "it has the key: {}", task.text);
        assert!(task.text.contains("dividing") && has_its_fields(&task.text), "{}", task.text);
    }
}

async fn what_is_said_beside_a_python_worker_comes_back(release: Release) {
    let mut cluster = release.cluster(0).await;
    cluster.add_nanny(1, &[]);
    cluster.ready().await;
    let mut client = example("trace");
    let program = client.get_program().to_str().unwrap();
    let url = format!("{}?plugin={program}", cluster.url());
    let client = printed(client.env("OUTBOARD_URL", url));
    eventually("the program has printed its spans", || {
        named(&spans(&cluster.log()), "cluster_task").len() == 2
    })
    .await;
    check(&format!("{client}\n{}", cluster.log()), true);
}
