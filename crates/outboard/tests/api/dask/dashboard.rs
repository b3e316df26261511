//! What Dask's dashboard reads, of native workers: its tables show what workers
//! say with each sign of life, its task stream what they say of each task.

use super::{Release, on_every_release};
use crate::support::scratch::Scratch;

on_every_release!(the_dashboard_is_told_of_workers_and_tasks, functions_have_their_names_in_python);

/// The n-th Fibonacci number, by the name that it has in the demo.
#[outboard::task(name = "lab::tasks::fib")]
fn fib(n: u64) -> u64 {
    if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
}

/// The example of the package's README, as it stands but for the scheduler's place.
async fn functions_have_their_names_in_python(release: Release) {
    let cluster = release.native().await;
    let readme = include_str!("../../../python/README.md");
    let example = readme.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let example = example.replace("tcp://127.0.0.1:8786", &cluster.address());
    assert!(example.contains(&cluster.address()), "{example}");
    let plugin = concat!(env!("CARGO_MANIFEST_DIR"), "/python");
    let before = format!("sys.path.insert(0, {plugin:?})\n");
    let after = "
assert client.map(fib, [1, 2, 3], resources=resources(client, fib))[0].result() == 1
kept = client.submit(fib, 12, resources=resources(client, fib))
wait(kept)
import asyncio
async def awaited():
    async with Client(sys.argv[1], asynchronous=True) as client:
        print(await client.submit(fib, 20, resources=await resources(client, fib)))
asyncio.run(awaited())
print(client.run_on_scheduler(lambda dask_scheduler: sorted(dask_scheduler.task_prefixes)))";
    let said = cluster.python(&format!("{before}{example}{after}")).await;
    assert_eq!(said, "832040\n6765\n['lab::tasks::fib']\n");
}

async fn the_dashboard_is_told_of_workers_and_tasks(release: Release) {
    let cluster = release.native().await;
    let scratch = Scratch::new();
    let said = cluster
        .python(&format!(
            "import pathlib, time
from distributed import get_task_stream
from distributed.diagnostics.task_stream import rectangles
at = pathlib.Path({:?})
def metrics():
    (worker,) = client.scheduler_info(n_workers=-1)['workers'].values()
    return worker['metrics']
spin = 'api::support::tasks::spin'
spinning = client.submit(function(spin), str(at), resources=resource(spin))
end = time.time() + 60
while not (metrics()['task_counts']['executing'] == 1 and metrics()['cpu'] > 10):
    assert time.time() < end, metrics()
    time.sleep(0.05)
(at / 'released').touch()
wait(spinning)
shown = metrics()
print(shown['memory'] > 1 << 20, shown['num_fds'] > 2, shown['spilled_bytes']['memory'])
print(sorted(shown['transfer']) == sorted(f'{{way}}_{{what}}' for way in ('incoming', 'outgoing')
                                          for what in ('bytes', 'count', 'count_total')))
describe = 'tests.describe'
with get_task_stream(client) as stream:
    fine = [client.submit(function(describe), [n], {{}}, resources=resource(describe), pure=False)
            for n in range(20)]
    wrong = client.submit(function(describe), 'x', resources=resource(describe))
    wait([*fine, wrong])
print(len(stream.data), sum(row['status'] == 'error' for row in stream.data))
drawn = rectangles(stream.data)
print(len(drawn['key']), all(duration >= 0 for duration in drawn['duration']))
print(len({{row['thread'] for row in stream.data if row['status'] == 'OK'}}) <= 2)
",
            scratch.path()
        ))
        .await;
    assert_eq!(said, "True True 0\nTrue\n21 1\n21 True\nTrue\n");
}
