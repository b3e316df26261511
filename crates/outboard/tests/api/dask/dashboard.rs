//! What Dask's dashboard reads, of native workers: its tables show what workers
//! say with each sign of life, its task stream what they say of each task.

use super::{Release, on_every_release};
use crate::support::scratch::Scratch;

on_every_release!(the_dashboard_is_told_of_workers_and_tasks);

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
