use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use browser::{Browser, Scheme};
use outboard::{Bytes, Client, LocalBuilder, SendError, Sender, TaskFuture};
use outboard_axum::Status;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::support::{Scratch, eventually, hold, receive, send, start};

const WIDE: [u32; 2] = [1280, 900];
const NARROW: [u32; 2] = [390, 844];

/// What would say so if a page took it for markup.
const HOSTILE: &str = "<script>window.hit = 1</script><img src=x onerror='window.hit = 1'>";

/// Makes the pictures in docs/status again, where it is set.
const SCREENSHOTS: &str = "OUTBOARD_SCREENSHOTS";

#[outboard::task(name = "shop::invoice::render")]
fn render(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

#[outboard::task(name = "shop::photo::resize")]
fn resize(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

#[outboard::task(name = "shop::stock::report")]
fn report(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

#[outboard::task(name = "shop::photo::decode")]
fn decode() {
    eprintln!("decoder: the header says 4 channels, the data has 3 {HOSTILE}");
    std::process::abort()
}

#[outboard::task(name = "shop::catalogue::pages")]
fn pages(at: PathBuf, out: Sender<Bytes>) -> Result<(), SendError> {
    outboard::progress(1, 2, "pages");
    out.send(vec![0; 1000].into())?;
    hold(at.join("first"));
    outboard::progress(2, 2, "pages");
    out.send(vec![0; 1000].into())?;
    hold(at.join("second"));
    Ok(())
}

/// A server with a status page, and a browser that shows it.
struct Scene {
    runtime: Runtime,
    client: Client,
    address: SocketAddr,
    browser: Browser,
}

impl Scene {
    fn open(workers: usize, controls: bool) -> Self {
        Self::of(Client::local().workers(workers), controls)
    }

    fn of(client: LocalBuilder, controls: bool) -> Self {
        let runtime = Runtime::new().unwrap();
        let (client, address) = runtime.block_on(async {
            let client = client.await.unwrap();
            let page = Status::new(client.clone()).controls(controls).router();
            (client, start(Router::new().nest("/ops/status", page)).await)
        });
        let browser = Browser::start();
        let scene = Self { runtime, client, address, browser };
        scene.show(WIDE, Scheme::Light);
        scene
    }

    fn show(&self, size: [u32; 2], scheme: Scheme) {
        self.browser.open(&format!("http://{}/ops/status", self.address), size, scheme);
        self.sees("the page is live", "connection", "live");
    }

    /// Waits until an element, by its id, has that in its text.
    fn sees(&self, what: &str, id: &str, text: &str) {
        let shown = format!("document.getElementById({id:?}).textContent.includes({text:?})");
        self.browser.wait_for(what, &shown);
    }

    /// Waits until the picture is described so.
    fn pictures(&self, what: &str) {
        let label = format!(
            "document.getElementById('stream').getAttribute('aria-label').includes({what:?})"
        );
        self.browser.wait_for(what, &label);
    }

    /// Holds a worker until the scratch is released; returns when it runs.
    fn hold(&self, scratch: &Scratch) -> TaskFuture<u32> {
        let held = self.client.tenant("ann").submit(hold, scratch.path());
        self.runtime.block_on(scratch.started());
        held
    }

    fn is(&self, expression: &str) -> bool {
        self.browser.script(&format!("return Boolean({expression})")) == true
    }
}

#[test]
fn it_shows_a_task_run_and_end_then_a_kill_and_a_crash_in_full() {
    let scene = Scene::open(1, false);
    let scratch = Scratch::new();
    let held = scene.hold(&scratch);
    let id = held.id().unwrap().to_string();
    scene.sees("the task is in the table", "workers", &format!("task {id}, for ann"));
    scene.pictures("1 running");
    scratch.release();
    scene.runtime.block_on(held).unwrap();
    scene.pictures("1 done");

    let scratch = Scratch::new();
    drop(scene.hold(&scratch));
    scene.pictures("1 killed");
    scene.sees("the kill is told", "log", "killed after its cancel");

    let crash = scene.client.tenant(HOSTILE).submit(decode, ());
    assert!(scene.runtime.block_on(crash).unwrap_err().is_worker_lost());
    scene.pictures("1 lost");
    scene.sees("it wants attention", "alerts", "A worker crashed");
    scene.sees("at a glance", "state", "needs a look");
    scene.sees("the tenant has a row", "tenants", HOSTILE);
    scene.sees("stderr is there in full", "reports", HOSTILE);
    scene.sees("with what ended it", "reports", "killed by SIGABRT in decode");
    scene.browser.tab_to("#reports summary");
    scene.browser.press("\n");
    scene.browser.wait_for("it opens", "document.querySelector('#reports details').open");
    assert!(!scene.is("window.hit"), "a script of a task ran");
    assert!(!scene.is("document.querySelector('main script, main img')"), "text became markup");
    scene.browser.assert_no_console_errors();
}

#[test]
fn a_running_task_shows_its_progress_and_the_items_of_its_stream() {
    let scene = Scene::open(1, false);
    let scratch = Scratch::new();
    let holds = ["first", "second"].map(|name| scratch.path().join(name));
    holds.iter().for_each(|at| std::fs::create_dir(at).unwrap());
    let stream = scene.client.stream(pages, scratch.path());
    scene.sees("its first item", "workers", ", 1 item of 1.0 KiB: 1 of 2, pages");
    scene
        .browser
        .script("window.link = document.querySelector('#workers small button, #workers small a')");
    std::fs::write(holds[0].join("released"), "").unwrap();
    scene.sees("the next one", "workers", ", 2 items of 2.0 KiB: 2 of 2, pages");
    assert!(scene.is("window.link.isConnected"), "what leads to its story stays");
    drop(stream);
    scene.browser.assert_no_console_errors();
}

#[test]
fn pools_stand_side_by_side() {
    let long = Duration::from_secs(3_600);
    let scene = Scene::of(
        Client::local()
            .workers(2)
            .pool("gpu", |pool| pool.workers(1).exclusive(true))
            .pool("elastic", |pool| pool.workers(0..=4).idle(long).spares(0)),
        true,
    );
    scene.sees("it has a row", "pools", "gpu");
    scene.sees("none is up", "pools", "0 of 0, 0 to 4");
    scene.sees("that is well", "state", "all well");
    let scratch = Scratch::new();
    let held = scene.client.pool("gpu").submit(hold, scratch.path());
    scene.runtime.block_on(scratch.started());
    let waits = scene.client.pool("gpu").submit(render, 1);
    let elastic = scene.client.pool("elastic").submit(render, 1);
    scene.runtime.block_on(elastic).unwrap();
    scene.sees("one has started", "pools", "1 of 1, 0 to 4");
    scene.sees("each has its own queue", "pools", "gpu11 of 11 of 16,384");
    scene.sees("a worker has its pool and slot", "workers", "gpu 0, pid ");
    scene.sees("and its own part of memory", "workers", " PSS");
    scene.browser.assert_accessible();
    scene.show(NARROW, Scheme::Dark);
    assert!(scene.is("document.body.scrollWidth <= innerWidth"), "it is too wide");
    scene.browser.assert_no_console_errors();
    scratch.release();
    scene.runtime.block_on(held).unwrap();
    scene.runtime.block_on(waits).unwrap();
}

#[outboard::task(name = "shop::photo::classify", batch(max = 16, wait = "5ms"))]
fn classify(photos: Vec<u64>) -> Vec<u64> {
    photos
}

#[test]
fn the_sizes_of_batches_are_shown_by_function() {
    let scene = Scene::open(1, false);
    scene.runtime.block_on(scene.client.submit(render, 1)).unwrap();
    scene.sees("a function that takes none", "functions", "shop::invoice::render");
    assert!(scene.is("document.getElementById('batches-section').hidden"));
    let scratch = Scratch::new();
    let held = scene.hold(&scratch);
    let photos: Vec<_> = (0..24).map(|photo| scene.client.batched(classify, photo)).collect();
    scratch.release();
    scene.runtime.block_on(held).unwrap();
    scene.runtime.block_on(outboard::gather(photos)).unwrap();
    scene.sees("calls and tasks", "batches", "shop::photo::classify224");
    scene.sees("their sizes", "batches", "mean 12.0");
    let label = "document.querySelector('#batches svg').getAttribute('aria-label')";
    assert!(scene.is(&format!("{label} === 'Sizes of batches of 2: mean 12.0'")));
    let bars = "[...document.querySelectorAll('#batches td:nth-child(4) rect:not(.ground)')]";
    assert!(scene.is(&format!("{bars}.length === 2")), "8 and 16");
    scene.browser.assert_accessible();
    scene.show(NARROW, Scheme::Dark);
    assert!(scene.is("document.body.scrollWidth <= innerWidth"), "it is too wide");
    scene.browser.assert_no_console_errors();
}

#[test]
fn what_was_acknowledged_stays_so_until_there_is_something_new() {
    let scene = Scene::open(1, false);
    let crash = || {
        let crash = scene.client.submit(decode, ());
        assert!(scene.runtime.block_on(crash).unwrap_err().is_worker_lost());
    };
    crash();
    scene.sees("it wants attention", "alerts", "A worker crashed");
    scene.browser.click("#alerts button");
    scene.browser.wait_for("it is away", "!document.querySelector('#alerts li')");
    scene.sees("it is told", "acknowledged", "1 alert acknowledged here.");
    scene.sees("all else is well", "state", "all well");
    scene.show(WIDE, Scheme::Light);
    scene.sees("it is known after a reload", "acknowledged", "1 alert");
    assert!(!scene.is("document.querySelector('#alerts li')"));
    crash();
    scene.sees("another crash is news", "alerts", "2 workers crashed");
    scene.browser.click("#alerts button");
    scene.browser.click("#unacknowledge");
    scene.sees("it can be shown again", "alerts", "2 workers crashed");
    assert!(scene.is("document.getElementById('acknowledged').hidden"));
    scene.browser.assert_no_console_errors();
}

#[test]
fn a_click_on_a_task_tells_its_story() {
    let scene = Scene::open(1, false);
    let scratch = Scratch::new();
    let held = scene.hold(&scratch);
    let id = held.id().unwrap().to_string();
    scene.browser.wait_for("it is in the table", "document.querySelector('#workers .link')");
    scene.browser.tab_to("#workers .link");
    scene.browser.press("\n");
    scene.browser.wait_for("it is told", "document.getElementById('story').open");
    scene.sees("whose it is", "story-title", &format!("Task {id}"));
    scene.sees("what happened", "story-events", "attempt 1 on worker ");
    scene.browser.assert_accessible();
    scene.browser.click("#story-close");

    // The middle of the picture is half a second ago.
    "++++".chars().for_each(|_| scene.browser.click("#in"));
    scene.pictures("Task stream, 1 s");
    scene.browser.script("document.getElementById('story-title').textContent = ''");
    let told = "document.getElementById('story').open
        || (document.getElementById('stream').click(), false)";
    let at_its_middle = "const canvas = document.getElementById('stream');
        const { left, width, top } = canvas.getBoundingClientRect();
        canvas.dispatchEvent(new PointerEvent('pointermove',
            { clientX: left + 0.9 * width, clientY: top + 10, bubbles: true }));";
    scene.browser.script(at_its_middle);
    scene.browser.wait_for("its bar tells it, too", told);
    scene.sees("whose it is", "story-title", &format!("Task {id}"));
    scene.browser.click("#story-close");
    scratch.release();
    scene.runtime.block_on(held).unwrap();
    scene.browser.assert_no_console_errors();

    let unknown = scene
        .browser
        .script("return fetch('status/story/ff.9').then(async it => [it.status, await it.text()])");
    assert_eq!(unknown[0], 404, "{unknown}");
    assert!(unknown[1].as_str().is_some_and(|it| it.contains("record(10_000)")), "{unknown}");
    assert_eq!(scene.browser.script("return fetch('status/story/x').then(it => it.status)"), 400);
}

#[test]
fn without_controls_there_are_no_buttons_for_them() {
    let scene = Scene::open(1, false);
    let scratch = Scratch::new();
    let _held = scene.hold(&scratch);
    scene.sees("the task is in the table", "workers", "hold");
    assert!(!scene.is("document.querySelector('#workers button:not(.link)')"));
    assert!(scene.is("document.getElementById('drain').hidden"));
    let refused = "
        return fetch('status/drain', { method: 'POST', headers: { 'x-outboard-status': '1' } })
            .then(answer => answer.status)";
    assert_eq!(scene.browser.script(refused), 404);
    assert!(scene.client.admin().snapshot().open);
    scratch.release();
}

#[test]
fn controls_cancel_by_keyboard_and_recycle_by_mouse() {
    let scene = Scene::open(1, true);
    let scratch = Scratch::new();
    let held = scene.hold(&scratch);
    scene.browser.wait_for("a button", "document.querySelector('[aria-label^=\"Cancel task\"]')");
    scene.browser.tab_to("[aria-label^=\"Cancel task\"]");
    scene.browser.press("\n");
    scene.browser.wait_for("it asks first", "document.getElementById('ask').open");
    scene.browser.assert_accessible();
    scene.browser.tab_to("#ask-yes");
    scene.browser.press("\n");
    assert!(scene.runtime.block_on(held).unwrap_err().is_cancelled());
    scene.sees("it says so", "said", "It is cancelled.");

    let number = "document.querySelector('#workers tr.idle [aria-label^=\"Recycle\"]')";
    scene.browser.wait_for("a worker idles", number);
    scene.browser.click("#workers tr.idle [aria-label^=\"Recycle\"]");
    scene.browser.click("#ask-no");
    assert_eq!(scene.client.admin().snapshot().restarts.recycled, 0, "it was only asked");
    scene.browser.click("#workers tr.idle [aria-label^=\"Recycle\"]");
    scene.browser.click("#ask-yes");
    let recycled = || scene.client.admin().snapshot().restarts.recycled == 1;
    scene.runtime.block_on(eventually("it is recycled", recycled));
    scene.sees("it is told", "log", "was replaced");
    scene.browser.click("#drain");
    scene.browser.click("#ask-yes");
    scene.sees("it is closed", "state", "closed");
    assert!(!scene.client.admin().snapshot().open);
    scene.browser.assert_no_console_errors();
}

#[test]
fn the_stream_zooms_moves_and_pauses_by_keyboard_and_by_buttons() {
    let scene = Scene::open(1, false);
    let nap = scene.client.submit(render, 20);
    scene.runtime.block_on(nap).unwrap();
    scene.pictures("1 done");
    scene.browser.tab_to("#stream");
    scene.browser.press(" ");
    scene.pictures("paused");
    assert_eq!(scene.browser.script("return document.getElementById('pause').ariaPressed"), "true");
    // What comes now is to the right of what is shown.
    let nap = scene.client.submit(render, 20);
    scene.runtime.block_on(nap).unwrap();
    scene.sees("it goes on beside", "tiles", "2 since the start");
    scene.pictures("1 done");
    scene.browser.press("+");
    scene.pictures("Task stream, 10 s");
    scene.browser.press("--");
    scene.pictures("Task stream, 60 s");
    scene.browser.press(END.to_string());
    scene.pictures("2 done");
    assert!(!scene.is("document.getElementById('stream').ariaLabel.includes('paused')"));
    scene.browser.click("#in");
    scene.sees("the span is told", "span", "30 s");
    scene.browser.click("#earlier");
    scene.browser.click("#earlier");
    scene.browser.click("#earlier");
    scene.pictures("paused: nothing");
    scene.browser.click("#pause");
    scene.pictures("2 done");
    scene.browser.assert_no_console_errors();
}

/// As WebDriver has it.
const END: char = '\u{e010}';

#[test]
fn a_page_whose_server_is_gone_says_since_when_and_comes_back() {
    let scene = Scene::open(1, false);
    let serve = |address| {
        let (stop, stopped) = oneshot::channel::<()>();
        let app = Router::new().nest("/status", Status::new(scene.client.clone()).router());
        let served = scene.runtime.block_on(async move {
            let listener = TcpListener::bind(address).await.unwrap();
            let address = listener.local_addr().unwrap();
            let serve = outboard_axum::serve(listener, app).stop_on(async { drop(stopped.await) });
            (address, tokio::spawn(serve.into_future()))
        });
        (stop, served)
    };
    let (stop, (address, served)) = serve(SocketAddr::from(([127, 0, 0, 1], 0)));
    scene.browser.open(&format!("http://{address}/status"), WIDE, Scheme::Light);
    scene.sees("it is live", "connection", "live");
    stop.send(()).unwrap();
    let cut = scene.runtime.block_on(served).unwrap().unwrap();
    assert!(cut.is_nothing(), "{cut}");
    scene.sees("it says so", "connection", "no connection since");
    scene.sees("at a glance", "state", "no connection");
    let (_stop, _served) = serve(address);
    scene.sees("it is back", "connection", "live");
}

/// Has tasks of all kinds for some seconds.
fn bustle(scene: &Scene) {
    let client = &scene.client;
    scene.runtime.block_on(async {
        for turn in 0..14_u64 {
            let ann = client.tenant("ann");
            let some: Vec<_> =
                (0..3).map(|n| ann.submit(resize, 20 + 10 * (turn + n) % 70)).collect();
            let bob = client.tenant("bob").submit(render, 60 + 37 * turn % 190);
            if turn == 4 {
                drop(client.tenant("eve").submit(report, 60_000));
                let late = client.timeout(Duration::from_millis(600)).tenant("eve");
                assert!(late.submit(report, 60_000).await.unwrap_err().is_timed_out());
            }
            if turn == 8 {
                client.tenant("ann").submit(decode, ()).await.unwrap_err();
            }
            outboard::gather(some).await.unwrap();
            bob.await.unwrap();
        }
    });
}

#[test]
fn it_reads_well_at_two_widths_in_both_schemes_and_without_eyes() {
    let scene = Scene::open(2, true);
    // Another one who looks, so that bars are kept while the page is loaded again.
    scene.runtime.spawn(receive(scene.runtime.block_on(send(
        scene.address,
        "/ops/status/events",
        "",
    ))));
    bustle(&scene);
    let _long = scene.client.tenant("bob").submit(report, 600_000);
    let _other = scene.client.tenant("ann").submit(render, 600_000);
    let zoe = scene.client.tenant("zoe").priority(2);
    let _wait: Vec<_> = (0..7).map(|_| zoe.submit(report, 600_000)).collect();
    for (size, width) in [(WIDE, "wide"), (NARROW, "narrow")] {
        for (scheme, name) in [(Scheme::Light, "light"), (Scheme::Dark, "dark")] {
            scene.show(size, scheme);
            scene.browser.click("#in");
            scene.sees("tasks run", "workers", "shop::stock::report");
            scene.sees("tasks wait", "queue", "zoe");
            scene.browser.assert_accessible();
            let fits = "document.documentElement.scrollWidth <= window.innerWidth";
            assert!(scene.is(fits), "{width}, {name}: it is wider than the window");
            scene.browser.assert_no_console_errors();
            scene.sees("p50 has its name", "functions", "p50 ≤ ");
            scene.sees("and p99", "functions", "p99 ≤ ");
            assert!(scene.is("document.querySelectorAll('#functions .axis span').length >= 8"));
            assert_eq!(scene.is(EMPTY), width == "wide", "{width}, {name}: labels of nothing");
            scene.browser.script("scrollTo(0, document.body.scrollHeight)");
            let head = "document.querySelector('header').getBoundingClientRect().top == 0";
            assert!(scene.is(head), "{width}, {name}: the head stays in sight");
            scene.browser.script("scrollTo(0, 0)");
            if std::env::var_os(SCREENSHOTS).is_some() {
                scene.browser.screenshot(&picture(&format!("{width}-{name}.png")));
            }
        }
    }
    let rows = "document.querySelectorAll('#functions tbody tr').length";
    scene.browser.wait_for("all functions", &format!("{rows} == 4"));
    scene.browser.click("#search");
    scene.browser.press("PHOTO::d");
    scene.browser.wait_for("one function", &format!("{rows} == 1"));
    scene.sees("it is the one", "functions", "shop::photo::decode");
    scene.browser.press("x");
    scene.browser.wait_for("none", "!document.getElementById('no-match').hidden");
}

/// Whether a cell of workers or functions would have no more than a label on a phone.
const EMPTY: &str = "[...document.querySelectorAll('table.cards td')]
    .some(it => it.offsetHeight && ['', '–'].includes(it.innerText.trim()))";

fn picture(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/status");
    std::fs::create_dir_all(&directory).unwrap();
    directory.join(name)
}
