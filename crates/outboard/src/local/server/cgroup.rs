//! Control groups: one for each worker where the server may make them, and the
//! counter of processes that the system killed for want of memory.
//!
//! Limits of groups need version 2, and a group beside or above the server's own
//! one in which it may make others: version 2 has processes in leaves only, so the
//! server's own will not do unless that is the root. All that is read and written
//! lies under a directory that is passed in, so that a test can make one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::task::cgroup::OwnGroups;

/// What a file such as `memory.events` or `memory.oom_control` counts as killed.
fn kills(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// The file that counts the kills in this process's own group.
fn counter(own: &OwnGroups) -> Option<PathBuf> {
    let unified = own.unified.iter().map(|own| own.directory.join("memory.events"));
    let memory = own.memory.iter().map(|own| own.directory.join("memory.oom_control"));
    unified.chain(memory).find(|path| kills(path).is_some())
}

/// The groups of one engine's workers.
#[derive(Debug)]
pub(super) struct Groups {
    /// Where workers' groups are made, and how much memory each may have.
    parent: Option<(PathBuf, u64)>,
    counter: Option<PathBuf>,
    made: u64,
    /// Of workers that are gone, but something was left in them.
    left: Vec<PathBuf>,
}

impl Groups {
    /// Looks where this process is, and makes groups if there is a limit that
    /// they can have.
    pub(super) fn find(limit_bytes: Option<u64>) -> Self {
        let own = OwnGroups::find();
        let parent = limit_bytes.and_then(|limit| match choose(&own) {
            Ok(parent) => Some((parent, limit)),
            Err(reason) => {
                tracing::debug!(reason, "workers have no control groups of their own");
                None
            }
        });
        Self { parent, counter: counter(&own), made: 0, left: Vec::new() }
    }

    /// How many processes of the server's group the system has killed.
    pub(super) fn kills(&self) -> Option<u64> {
        kills(self.counter.as_deref()?)
    }

    /// Puts a worker into a group of its own. If that is refused it has none, and
    /// neither has any later one.
    pub(super) fn add(&mut self, number: usize, pid: u32) -> Option<Group> {
        let (parent, limit) = self.parent.as_ref()?;
        self.made += 1;
        let name = format!("outboard-{}-{number}-{}", std::process::id(), self.made);
        let group = Group { directory: parent.join(name) };
        if let Err(error) = group.make(*limit, pid) {
            tracing::warn!(%error, group = %group.directory.display(), "a worker has no group");
            self.parent = None;
            self.remove(Some(group));
            return None;
        }
        Some(group)
    }

    /// Removes the group of a worker that is gone, and those that something was
    /// left in; it may be gone by now.
    pub(super) fn remove(&mut self, group: Option<Group>) {
        self.left.extend(group.map(|group| group.directory));
        self.left.retain(|directory| match fs::remove_dir(directory) {
            Ok(()) => false,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        });
    }
}

/// A worker's own group.
#[derive(Debug)]
pub(super) struct Group {
    directory: PathBuf,
}

impl Group {
    fn make(&self, limit_bytes: u64, pid: u32) -> io::Result<()> {
        fs::create_dir(&self.directory)?;
        let write = |name: &str, text: &str| fs::write(self.directory.join(name), text);
        write("memory.max", &limit_bytes.to_string())?;
        write("memory.oom.group", "1")?;
        // Not there where the system counts no swap, which is as good as none.
        let _ = write("memory.swap.max", "0");
        write("cgroup.procs", &pid.to_string())
    }

    /// Whether the system has killed something in it, at its limit.
    pub(super) fn was_killed(&self) -> bool {
        kills(&self.directory.join("memory.events")).is_some_and(|count| count > 0)
    }
}

/// A group in which others with a limit of memory can be made.
fn choose(own: &OwnGroups) -> Result<PathBuf, String> {
    let Some(own) = &own.unified else {
        return Err("there is no hierarchy of version 2".into());
    };
    let mut reasons = Vec::new();
    for group in own.upwards().take(2) {
        match can_have_groups(group) {
            Ok(()) => return Ok(group.to_owned()),
            Err(reason) => reasons.push(format!("{}: {reason}", group.display())),
        }
    }
    Err(reasons.join("; "))
}

/// Whether groups in this one can have limits of memory; sees to it if it may.
fn can_have_groups(group: &Path) -> Result<(), String> {
    let names_memory = |file: &str| {
        let text = fs::read_to_string(group.join(file)).map_err(|e| format!("{file}: {e}"))?;
        Ok::<_, String>(text.split_whitespace().any(|name| name == "memory"))
    };
    if !names_memory("cgroup.controllers")? {
        return Err("has no controller of memory".into());
    }
    if !names_memory("cgroup.subtree_control")? {
        let control = group.join("cgroup.subtree_control");
        fs::write(control, "+memory").map_err(|e| format!("cgroup.subtree_control: {e}"))?;
    }
    let trial = group.join(format!("outboard-{}-trial", std::process::id()));
    let tried = fs::create_dir(&trial);
    let _ = fs::remove_dir(&trial);
    tried.map_err(|error| format!("no group can be made: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::cgroup::OwnGroup;

    #[test]
    fn kills_are_counted_in_either_version() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("memory.events");
        fs::write(&file, "low 0\noom 4\noom_kill 3\noom_group_kill 1\n").unwrap();
        assert_eq!(kills(&file), Some(3));
        fs::write(&file, "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n").unwrap();
        assert_eq!(kills(&file), Some(2));
        fs::write(&file, "oom_kill_disable 0\nunder_oom 0\n").unwrap();
        assert_eq!(kills(&file), None);
    }

    /// A tree as systemd delegates it: the server's group, and one above in which
    /// groups may be made.
    fn delegated(subtree: &str) -> (tempfile::TempDir, OwnGroups) {
        let scratch = tempfile::tempdir().unwrap();
        let (top, own) = (scratch.path().to_owned(), scratch.path().join("server"));
        fs::create_dir(&own).unwrap();
        fs::write(own.join("cgroup.controllers"), "cpu\n").unwrap();
        fs::write(top.join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        fs::write(top.join("cgroup.subtree_control"), subtree).unwrap();
        (scratch, OwnGroups { unified: Some(OwnGroup { directory: own, top }), memory: None })
    }

    #[test]
    fn the_group_above_is_taken_where_the_own_one_cannot_have_others() {
        let (scratch, own) = delegated("memory\n");
        assert_eq!(choose(&own).as_deref(), Ok(scratch.path()));
        let names = fs::read_dir(scratch.path()).unwrap().flatten().map(|entry| entry.file_name());
        assert!(names.into_iter().all(|name| !name.to_string_lossy().contains("trial")));
    }

    #[test]
    fn the_controller_is_switched_on_where_it_is_not() {
        let (scratch, own) = delegated("cpu\n");
        assert_eq!(choose(&own).as_deref(), Ok(scratch.path()));
        let control = fs::read_to_string(scratch.path().join("cgroup.subtree_control"));
        assert_eq!(control.unwrap(), "+memory");
    }

    #[test]
    fn what_is_above_the_mount_is_out_of_reach() {
        let (_scratch, mut groups) = delegated("memory\n");
        let own = groups.unified.as_mut().unwrap();
        own.top = own.directory.clone();
        let reason = choose(&groups).unwrap_err();
        assert!(reason.ends_with("has no controller of memory"), "{reason}");
        assert!(choose(&OwnGroups::default()).unwrap_err().contains("no hierarchy of version 2"));
    }

    #[test]
    fn a_worker_gets_a_group_with_its_limit() {
        let (scratch, own) = delegated("memory\n");
        let parent = Some((choose(&own).unwrap(), 256 << 20));
        let mut groups = Groups { parent, counter: None, made: 0, left: Vec::new() };
        let group = groups.add(3, 4711).unwrap();
        let read = |name: &str| fs::read_to_string(group.directory.join(name)).unwrap();
        assert_eq!((read("memory.max"), read("memory.swap.max")), ("268435456".into(), "0".into()));
        assert_eq!((read("memory.oom.group"), read("cgroup.procs")), ("1".into(), "4711".into()));
        assert!(group.directory.starts_with(scratch.path()));
        assert!(!group.was_killed());
        fs::write(group.directory.join("memory.events"), "oom 1\noom_kill 1\n").unwrap();
        assert!(group.was_killed());
        let other = groups.add(3, 4712).unwrap();
        assert_ne!(group.directory, other.directory, "each process has its own");
    }

    #[test]
    fn a_group_that_something_is_left_in_is_removed_later() {
        let (_scratch, own) = delegated("memory\n");
        let parent = Some((choose(&own).unwrap(), 256 << 20));
        let mut groups = Groups { parent, counter: None, made: 0, left: Vec::new() };
        let directory = groups.add(1, 4711).unwrap().directory;
        groups.remove(Some(Group { directory: directory.clone() }));
        assert_eq!(groups.left.len(), 1, "a real one has no files to be removed");
        fs::remove_dir_all(&directory).unwrap();
        fs::create_dir(&directory).unwrap();
        groups.remove(None);
        assert!(groups.left.is_empty() && !directory.exists());
    }

    #[test]
    fn without_a_group_workers_go_on() {
        let gone = Some((PathBuf::from("/nowhere"), 256 << 20));
        let mut groups = Groups { parent: gone, counter: None, made: 0, left: Vec::new() };
        assert!(groups.add(1, 4711).is_none());
        assert!(groups.parent.is_none() && groups.left.is_empty());
    }

    fn say(what: std::fmt::Arguments<'_>) {
        let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("{what}\n"));
    }

    /// With the real thing where the machine has it; says what it found.
    #[test]
    fn a_real_process_gets_a_real_group_where_that_is_possible() {
        let mut groups = Groups::find(Some(64 << 20));
        if let Some(count) = groups.kills() {
            assert_eq!(groups.kills(), Some(count), "nothing is killed here");
        }
        let Some((parent, _)) = groups.parent.clone() else {
            let reason = choose(&OwnGroups::find()).unwrap_err();
            say(format_args!("no real control group was tried here: {reason}"));
            return;
        };
        say(format_args!("a real control group is made in {}", parent.display()));
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        if let Some(group) = groups.add(1, child.id()) {
            let limit = fs::read_to_string(group.directory.join("memory.max")).unwrap();
            assert_eq!(limit.trim(), (64 << 20).to_string());
            let own = fs::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap();
            assert!(own.contains("outboard-"), "{own}");
            child.kill().unwrap();
            child.wait().unwrap();
            let directory = group.directory.clone();
            groups.remove(Some(group));
            assert!(!directory.exists());
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}
