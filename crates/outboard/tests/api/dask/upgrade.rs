//! Half an upgrade: clients and workers are two builds of one program, whose types and
//! functions have changed between (`tests/outside/upgrade`).

use super::Release;
use super::cluster::Cluster;
use crate::outside::program;
use crate::support::run;

/// A cluster of one worker, which is of that build.
async fn cluster_of(build: &str) -> Cluster {
    let mut cluster = Release::Newest.cluster(0).await;
    cluster.add_native_program(program("upgrade", build), "workers=1&spares=0");
    cluster.ready().await;
    cluster
}

/// What the calls of a build give, a line for each.
async fn calls(build: &str, cluster: &Cluster) -> [String; 5] {
    let mut command = tokio::process::Command::from(program("upgrade", build));
    let output = command.arg(cluster.url()).kill_on_drop(true).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.try_into().unwrap_or_else(|_| {
        panic!("{text}\n{}\n{}", String::from_utf8_lossy(&output.stderr), cluster.log())
    })
}

#[test]
fn half_an_upgrade_works_where_types_allow_it_and_says_where_not() {
    // Before the test's time runs.
    let _ = program("upgrade", "earlier");
    run(async {
        let cluster = cluster_of("earlier").await;
        let [total, invoice, ship, pack, label] = calls("later", &cluster).await;
        assert_eq!(total, r#"Receipt { cents: 350, currency: "", id: 8 }"#);
        assert_eq!(invoice, r#""invoice 8""#, "fields that it does not have are ignored");
        let unknown = |name: &str, why: &str| {
            format!("unknown_task: task function `shop::{name}` is not known here: {why}")
        };
        let asked = |wanted, offered| {
            format!("version {wanted} is asked for, and the workers offer version {offered}")
        };
        assert_eq!(ship, unknown("ship", &asked(2, "1")));
        assert_eq!(pack, unknown("pack", &asked(3, "1")));
        let bytes = "the workers offer version 1 with other types, of which one is nothing but \
                     bytes: give the new function another `version`";
        assert_eq!(label, unknown("label", bytes));

        let mut cluster = cluster_of("later").await;
        let [total, invoice, ship, pack, label] = calls("earlier", &cluster).await;
        assert_eq!(total, "Receipt { id: 7, cents: 350 }", "a default is what is missing");
        assert_eq!(
            invoice,
            "codec: could not decode argument `order` (Purchase): missing field `from`"
        );
        assert_eq!(ship, unknown("ship", &asked(1, "2")));
        assert_eq!(pack, r#""order 7 in recycled paper""#, "the old version is still there");
        assert_eq!(label, unknown("label", bytes));

        // Both are there: each finds its own.
        cluster.add_native_program(program("upgrade", "earlier"), "workers=1&spares=0");
        cluster.ready().await;
        let [_, _, ship, pack, label] = calls("later", &cluster).await;
        assert_eq!([ship, pack], [r#""order 8 by plane""#, r#""order 8 in wood""#]);
        assert_eq!(label, "[116, 101, 97]");
        let [_, _, ship, _, label] = calls("earlier", &cluster).await;
        assert_eq!([ship, label], [r#""order 7 by train""#, r#""tea""#]);
        let said = cluster
            .python(
                "def needs(name, number):\n\
                 \x20   names = (r for w in client.scheduler_info(n_workers=-1)['workers'].values()\n\
                 \x20            for r in w['resources'])\n\
                 \x20   begin = f'outboard:{name}:{number}.'\n\
                 \x20   return {next(r for r in names if r.startswith(begin)): 1}\n\
                 for name, number, args in [('pack', 1, (7,)), ('pack', 3, (7,)), ('ship', 2, (7, True))]:\n\
                 \x20   f = function(f'shop::{name}@{number}')\n\
                 \x20   need = needs(f'shop::{name}', number)\n\
                 \x20   print(client.submit(f, *args, resources=need, pure=False).result()[:20])\n",
            )
            .await;
        let packed = ["order 7 in paper", "order 7 in recycled "];
        let lines: Vec<_> = said.lines().collect();
        assert!(packed.contains(&lines[0]), "{said}");
        assert_eq!(lines[1..], ["order 7 in wood", "order 7 by plane"]);
    });
}
