//! Draws what is shown, at any size.

use std::time::Duration;

use outboard_axum::view::{Ends, Function, Line as Waiting, Outcomes, Pool, Tasks, View, Worker};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Borders, Paragraph, Row, Table, Wrap};

use super::shown::Shown;

/// Two tables stand side by side in so many columns.
const WIDE: u16 = 150;

/// The most alerts that are shown.
const ALERTS: usize = 4;

/// The most pools that are shown.
const POOLS: usize = 8;

const QUIET: Style = Style::new().fg(Color::DarkGray);
const GOOD: Style = Style::new().fg(Color::Green);
const WARN: Style = Style::new().fg(Color::Yellow);
const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, shown: &Shown) {
    let alerts = alerts(&shown.view);
    let height = alerts.len() as u16;
    let rows = [
        Constraint::Length(2),
        Constraint::Length(height),
        Constraint::Length(2),
        Constraint::Length(shown.view.pools.len().min(POOLS) as u16),
        Constraint::Min(0),
        Constraint::Length(1),
    ];
    let [head, attention, counts, pools, rest, foot] = Layout::vertical(rows).areas(frame.area());
    frame.render_widget(Text::from(vec![title(shown), connection(shown)]), head);
    frame.render_widget(Text::from(alerts), attention);
    frame.render_widget(Paragraph::new(tasks(shown)).wrap(Wrap { trim: false }), counts);
    let lines = shown.view.pools.iter().take(POOLS).map(pool);
    frame.render_widget(Text::from(lines.collect::<Vec<_>>()), pools);
    if shown.reports {
        let text = Paragraph::new(reports(&shown.view)).wrap(Wrap { trim: false });
        frame.render_widget(
            text.scroll((shown.scroll, 0)).block(titled("Crashes and panics")),
            rest,
        );
    } else {
        overview(frame, shown, rest);
    }
    frame.render_widget(Span::styled(" q quits · r reports of crashes · ↑↓ scrolls", QUIET), foot);
}

fn title(shown: &Shown) -> Line<'static> {
    let view = &shown.view;
    let severe = view.alerts.iter().any(|alert| alert.severe);
    let (word, style) = match (&shown.lost, view.open, severe, view.alerts.is_empty()) {
        (Some(_), ..) => ("no connection", BAD),
        (_, false, ..) => ("accepts no tasks", BAD),
        (.., true, _) => ("in trouble", BAD),
        (.., true) => ("all well", GOOD),
        _ => ("needs a look", WARN),
    };
    Line::from(vec![
        Span::styled(" Outboard ", BOLD),
        Span::raw(clean(&view.engine)),
        Span::raw("  "),
        Span::styled(word, style),
        Span::styled(format!("  up {}", age(view.uptime_ms)), QUIET),
    ])
}

fn connection(shown: &Shown) -> Line<'static> {
    let Some(lost) = &shown.lost else {
        return Line::styled(format!(" {}", clean(&shown.url)), QUIET);
    };
    let (since, age) = (lost.clock(), age(lost.age().as_secs_f64() * 1e3));
    let why = clean(&lost.why);
    Line::styled(format!(" no connection since {since} ({age}): {why}; trying again"), BAD)
}

fn alerts(view: &View) -> Vec<Line<'static>> {
    let style = |severe| if severe { BAD } else { WARN };
    let all = view.alerts.iter().take(ALERTS);
    all.map(|alert| Line::styled(format!(" ▌{}", clean(&alert.text)), style(alert.severe)))
        .collect()
}

fn tasks(shown: &Shown) -> Line<'static> {
    let View { tasks, admission, workers, .. } = &shown.view;
    let busy = workers.iter().filter(|worker| worker.task.is_some() || worker.state == "stopping");
    let up = workers.iter().filter(|worker| worker.state != "standby").count();
    let rate = shown.rate.map_or("…".to_owned(), |rate| count(rate.round() as u64));
    let parts = [
        format!(" {} of {up} busy", busy.count()),
        format!(
            "{} of {} waiting, for {}",
            count(tasks.queued as u64),
            count(admission.queue_limit as u64),
            age(admission.predicted_wait_ms)
        ),
        format!("{rate}/s done, {} in all", count(tasks.done)),
        format!("{} failed", count(tasks.failed)),
        format!("{} cancelled", count(tasks.cancelled)),
        format!("{} timed out", count(tasks.timed_out)),
        format!("{} refused", count(admission.refused)),
    ];
    Line::from(parts.join(" · "))
}

/// One pool, a line beneath that of the others.
fn pool(pool: &Pool) -> Line<'static> {
    let style = if pool.open && pool.up >= pool.least_workers { QUIET } else { WARN };
    let bounds = match pool.least_workers < pool.most_workers {
        true => format!(" ({} to {})", pool.least_workers, pool.most_workers),
        false => String::new(),
    };
    let Tasks { queued, done, failed, .. } = pool.tasks;
    let wait = age(pool.admission.predicted_wait_ms);
    let parts = [
        format!(" {:<12} {} of {} busy{bounds}", clean(&pool.pool), pool.busy, pool.up),
        format!("{} waiting, for {wait}", count(queued as u64)),
        format!("{} done", count(done)),
        format!("{} failed", count(failed)),
        format!("{} refused", count(pool.admission.refused)),
        bytes(Some(pool.memory_bytes)),
    ];
    Line::styled(parts.join(" · "), style)
}

fn overview(frame: &mut Frame<'_>, shown: &Shown, area: Rect) {
    let view = &shown.view;
    let workers = view.workers.len() as u16 + 2;
    let reserved = area.height / 2;
    let [above, below] =
        Layout::vertical([Constraint::Length(workers.min(reserved.max(4))), Constraint::Min(0)])
            .areas(area);
    frame.render_widget(workers_table(shown, above.width), above);
    let halves = [Constraint::Percentage(38), Constraint::Percentage(62)];
    let [left, right] = match area.width >= WIDE {
        true => Layout::horizontal(halves).areas(below),
        false => {
            let queue = (view.queue.len() as u16 + 2).clamp(3, (below.height / 2).max(3));
            Layout::vertical([Constraint::Length(queue), Constraint::Min(0)]).areas(below)
        }
    };
    frame.render_widget(queue_table(view), left);
    frame.render_widget(functions_table(view, right.width), right);
}

fn titled(title: &'static str) -> Block<'static> {
    Block::new().borders(Borders::TOP).border_style(QUIET).title(Span::styled(title, BOLD))
}

/// A column of a table.
struct Column {
    head: &'static str,
    /// Its width, or 0 for what the others leave.
    width: u16,
    /// It is there where the table is so wide.
    from: u16,
}

const fn column(head: &'static str, width: u16, from: u16) -> Column {
    Column { head, width, from }
}

const WORKERS: [Column; 9] = [
    column("No", 4, 0),
    column("pid", 8, 100),
    column("state", 9, 0),
    column("task", 0, 0),
    column("for", 11, 0),
    column("CPU", 6, 0),
    column("memory", 9, 75),
    column("done", 9, 75),
    column("restarts", 22, 100),
];

const FUNCTIONS: [Column; 7] = [
    column("task function", 0, 0),
    column("done", 9, 0),
    column("run p50", 8, 0),
    column("p99", 8, 0),
    column("", 12, 75),
    column("wait p99", 8, 75),
    column("not done", 24, 90),
];

/// A table of the columns that there is room for; each row is made with the width of
/// the column that takes what is left.
fn table<const N: usize, R>(
    columns: &[Column; N],
    width: u16,
    rows: impl Iterator<Item = R>,
    row: impl Fn(R, usize) -> ([String; N], Style),
) -> Table<'static> {
    let is_there = |column: &Column| column.from <= width;
    let there: Vec<&Column> = columns.iter().filter(|column| is_there(column)).collect();
    let taken: u16 = there.iter().map(|column| column.width + 1).sum();
    let room = (width + 1).saturating_sub(taken);
    let widths = there.iter().map(|column| match column.width {
        0 => Constraint::Length(room),
        width => Constraint::Length(width),
    });
    let rows = rows.map(|it| {
        let (cells, style) = row(it, room.into());
        let cells = cells.into_iter().zip(columns).filter(|(_, column)| is_there(column));
        Row::new(cells.map(|(cell, _)| cell)).style(style)
    });
    let head = Row::new(there.iter().map(|column| column.head)).style(QUIET);
    Table::new(rows, widths).header(head)
}

/// A name, from its end where there is no room for all of it: what tells functions
/// apart stands there.
fn end_of(name: &str, room: usize) -> String {
    let length = name.chars().count();
    if length <= room {
        return name.to_owned();
    }
    let kept = room.saturating_sub(1);
    let end: String = name.chars().skip(length - kept).collect();
    if room == 0 { end } else { format!("…{end}") }
}

fn workers_table(shown: &Shown, width: u16) -> Table<'static> {
    let rows = shown.view.workers.iter().skip(shown.scroll.into());
    let row = |worker: &Worker, room| worker_row(shown, worker, room);
    table(&WORKERS, width, rows, row).block(titled("Workers"))
}

fn worker_row(shown: &Shown, worker: &Worker, room: usize) -> ([String; 9], Style) {
    let style = match worker.state.as_str() {
        "busy" => Style::new(),
        "stopping" => WARN,
        _ => QUIET,
    };
    let task = worker.task.as_ref();
    let described = task.map_or(String::new(), |task| {
        let tenant = task.tenant.as_ref().map_or(String::new(), |tenant| format!(" for {tenant}"));
        let progress = task.progress.as_ref().map_or(String::new(), |said| format!(": {said}"));
        let items = if task.items > 0 { format!(", {} items", task.items) } else { String::new() };
        let all = clean(&format!("{} {}{tenant}{items}{progress}", task.function, task.task));
        if all.chars().count() <= room { all } else { end_of(&clean(&task.function), room) }
    });
    let described = match (shown.view.pools.is_empty(), worker.slot) {
        (true, _) => described,
        (false, None) => format!("[{}] {described}", worker.pool),
        (false, Some(slot)) => format!("[{} {slot}] {described}", worker.pool),
    };
    let used = match (worker.cpu_ms, shown.used(worker.number)) {
        (None, _) => "–".to_owned(),
        (_, None) => "…".to_owned(),
        (_, Some(part)) => format!("{:.0} %", part * 100.0),
    };
    let cells = [
        worker.number.to_string(),
        worker.pid.to_string(),
        clean(&worker.state),
        described,
        task.map_or(String::new(), |task| age(task.run_ms)),
        used,
        bytes(worker.memory_bytes),
        count(worker.done),
        ends(&worker.restarts),
    ];
    (cells, style)
}

fn ends(ends: &Ends) -> String {
    let all = [
        (ends.killed, "killed"),
        (ends.lost, "lost"),
        (ends.recycled, "recycled"),
        (ends.dismissed, "dismissed"),
    ];
    listed(&all)
}

fn listed(all: &[(u64, &str)]) -> String {
    let some = all.iter().filter(|(number, _)| *number > 0);
    some.map(|(number, what)| format!("{number} {what}")).collect::<Vec<_>>().join(", ")
}

fn queue_table(view: &View) -> Table<'static> {
    let row = |line: &Waiting| {
        let tenant = line.tenant.as_deref().unwrap_or("(none named)");
        let waiting = count(line.queued as u64);
        Row::new([line.priority.to_string(), clean(tenant), waiting, age(line.oldest_ms)])
    };
    let widths =
        [Constraint::Length(8), Constraint::Fill(1), Constraint::Length(8), Constraint::Length(11)];
    Table::new(view.queue.iter().map(row), widths)
        .header(Row::new(["priority", "tenant", "waiting", "oldest"]).style(QUIET))
        .block(titled("Queue"))
}

fn functions_table(view: &View, width: u16) -> Table<'static> {
    let rows = view.functions.iter();
    let row = |row: &Function, room| (function_row(row, room), Style::new());
    table(&FUNCTIONS, width, rows, row).block(titled("Task functions"))
}

fn function_row(row: &Function, room: usize) -> [String; 7] {
    let time = |ms: Option<f64>| ms.map_or("–".to_owned(), age);
    let Outcomes { panicked, lost, cancelled, timed_out, refused, .. } = row.outcomes;
    let rest = [
        (panicked, "panicked"),
        (lost, "lost"),
        (row.outcomes.failed - panicked - lost, "failed"),
        (cancelled, "cancelled"),
        (timed_out, "timed out"),
        (refused, "refused"),
    ];
    [
        end_of(&clean(&row.function), room),
        count(row.outcomes.done),
        time(row.run.p50_ms),
        time(row.run.p99_ms),
        histogram(&row.run.counts),
        time(row.wait.p99_ms),
        listed(&rest),
    ]
}

/// The last twelve buckets in use, each a block as high as its part of the most.
fn histogram(counts: &[u64]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let block = |count: &u64| match count {
        0 => ' ',
        count => BLOCKS[((count * 8).div_ceil(most) as usize).clamp(1, 8) - 1],
    };
    let first = counts.iter().position(|count| *count > 0).unwrap_or(0);
    counts[first.max(counts.len().saturating_sub(12))..].iter().map(block).collect()
}

fn reports(view: &View) -> Text<'static> {
    let mut all: Vec<(f64, Vec<Line<'static>>)> = Vec::new();
    for crash in &view.crashes {
        let mut lines = vec![reported(view, crash.at_ms, &crash.summary)];
        lines.extend(crash.stderr.iter().map(|line| Line::raw(format!("    {}", clean(line)))));
        all.push((crash.at_ms, lines));
    }
    for panic in &view.panics {
        let said = format!(
            "task {} of {} panicked on worker {} at {}",
            panic.task, panic.function, panic.worker, panic.location
        );
        let mut lines = vec![reported(view, panic.at_ms, &said)];
        let text = panic.message.lines().chain(panic.backtrace.lines());
        lines.extend(text.map(|line| Line::raw(format!("    {}", clean(line)))));
        all.push((panic.at_ms, lines));
    }
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    match all.is_empty() {
        true => Text::from("None."),
        false => all.into_iter().flat_map(|(_, lines)| lines).collect(),
    }
}

fn reported(view: &View, at_ms: f64, said: &str) -> Line<'static> {
    let ago = format!("{} ago  ", age(view.uptime_ms - at_ms));
    Line::from(vec![Span::styled(ago, QUIET), Span::styled(clean(said), BAD)])
}

/// Text of others, without what would move the cursor.
fn clean(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '·' } else { letter }).collect()
}

/// A time in milliseconds, as people say it.
fn age(ms: f64) -> String {
    let seconds = (ms / 1e3).max(0.0);
    let whole = seconds as u64;
    match whole {
        0 if ms <= 0.0 => "0 s".to_owned(),
        0..60 => format!("{:.1?}", Duration::from_secs_f64(seconds)),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        3_600..172_800 => format!("{} h {} min", whole / 3_600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86_400, whole / 3_600 % 24),
    }
}

/// A number with a comma before each group of three digits.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let (first, rest) = digits.split_at((digits.len() - 1) % 3 + 1);
    let groups = rest.as_bytes().chunks(3).map(String::from_utf8_lossy);
    groups.fold(first.to_owned(), |text, group| text + "," + &group)
}

fn bytes(bytes: Option<u64>) -> String {
    match bytes {
        None => "–".to_owned(),
        Some(bytes) if bytes < 10 << 30 => format!("{} MiB", bytes >> 20),
        Some(bytes) => format!("{} GiB", bytes >> 30),
    }
}

#[cfg(test)]
mod tests;
