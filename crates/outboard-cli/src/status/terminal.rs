//! The terminal while it shows the page: keys, sizes and signals; as it was, after.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::fetch::{Page, Problem, Said};
use super::screen;
use super::shown::Shown;

/// How often the page is asked.
const PERIOD: Duration = Duration::from_millis(500);

/// How long the keyboard's thread takes to notice the end.
const NOTICE: Duration = Duration::from_millis(100);

/// How far a page key scrolls.
const PAGE: u16 = 10;

/// The signals that ask this program to end.
#[cfg(unix)]
struct Signals(tokio::signal::unix::Signal, tokio::signal::unix::Signal);

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self(signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self(tokio::signal::windows::ctrl_c()?))
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}

/// Shows the page until the user quits or a signal comes.
///
/// The terminal is as it was when this returns, and when it panics.
pub(super) async fn show(page: &Page, shown: Shown) -> anyhow::Result<()> {
    // From now on they end this function, not the process.
    let mut signals = Signals::new()?;
    let restored = Restored;
    // It restores the terminal before a panic is told, too.
    let terminal = ratatui::try_init()?;
    let done = tokio::select! {
        done = follow(page, shown, terminal) => done,
        () = signals.next() => Ok(()),
    };
    drop(restored);
    done
}

/// Restores the terminal when it is dropped.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

async fn follow(
    page: &Page,
    mut shown: Shown,
    mut terminal: DefaultTerminal,
) -> anyhow::Result<()> {
    let mut keys = Keyboard::listen();
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asked = None;
    loop {
        terminal.draw(|frame| screen::draw(frame, &shown))?;
        tokio::select! {
            event = keys.events.recv() => match event {
                // Its thread ends when the terminal has gone.
                None => return Ok(()),
                Some(event) => if !obey(&mut shown, &event) { return Ok(()) },
            },
            _ = ticks.tick(), if asked.is_none() => asked = Some(Box::pin(page.get())),
            answer = answer(&mut asked) => {
                asked = None;
                match answer {
                    Ok(said) => shown.update(said.view),
                    Err(problem) => shown.lose(problem.to_string()),
                }
            }
        }
    }
}

/// The answer to what was asked; never, if nothing was.
async fn answer(
    asked: &mut Option<impl Future<Output = Result<Said, Problem>> + Unpin>,
) -> Result<Said, Problem> {
    match asked {
        Some(asked) => asked.await,
        None => std::future::pending().await,
    }
}

/// Does what a key says; whether to go on.
fn obey(shown: &mut Shown, event: &Event) -> bool {
    // A new size needs no more than being drawn again.
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else {
        return true;
    };
    match code {
        KeyCode::Char('q') | KeyCode::Esc => return false,
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => return false,
        KeyCode::Char('r') | KeyCode::Tab => {
            (shown.reports, shown.scroll) = (!shown.reports, 0);
        }
        KeyCode::Down | KeyCode::Char('j') => shown.scroll = shown.scroll.saturating_add(1),
        KeyCode::Up | KeyCode::Char('k') => shown.scroll = shown.scroll.saturating_sub(1),
        KeyCode::PageDown => shown.scroll = shown.scroll.saturating_add(PAGE),
        KeyCode::PageUp => shown.scroll = shown.scroll.saturating_sub(PAGE),
        KeyCode::Home => shown.scroll = 0,
        _ => {}
    }
    true
}

/// A thread that waits for keys, for reading them blocks; it ends with this.
struct Keyboard {
    events: mpsc::Receiver<Event>,
    ended: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Keyboard {
    fn listen() -> Self {
        let (tell, events) = mpsc::channel(64);
        let ended = Arc::new(AtomicBool::new(false));
        let is_over = ended.clone();
        let thread = thread::spawn(move || {
            while !is_over.load(Relaxed) {
                let event = match event::poll(NOTICE) {
                    Ok(false) => continue,
                    Ok(true) => event::read(),
                    Err(error) => Err(error),
                };
                let Ok(event) = event else { return };
                if tell.blocking_send(event).is_err() {
                    return;
                }
            }
        });
        Self { events, ended, thread: Some(thread) }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        self.ended.store(true, Relaxed);
        // So that the thread does not wait for room.
        self.events.close();
        if let Some(thread) = self.thread.take() {
            // It has no panic to pass on.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use outboard_axum::view::View;

    use super::*;

    #[test]
    fn keys_quit_turn_over_and_scroll() {
        let mut shown = Shown::new(String::new(), View::default());
        let key = |code| Event::Key(KeyEvent::new(code, KeyModifiers::NONE));
        assert!(obey(&mut shown, &key(KeyCode::Tab)) && shown.reports);
        assert!(obey(&mut shown, &key(KeyCode::PageDown)) && shown.scroll == PAGE);
        assert!(obey(&mut shown, &key(KeyCode::Up)) && shown.scroll == PAGE - 1);
        assert!(obey(&mut shown, &key(KeyCode::Char('c'))), "only with control");
        assert!(obey(&mut shown, &Event::Resize(10, 10)));
        assert!(!obey(&mut shown, &key(KeyCode::Char('q'))));
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(!obey(&mut shown, &Event::Key(interrupt)));
    }
}
