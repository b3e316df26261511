//! The control groups of this process: where they are, and how much memory they leave it.

use std::path::{Component, Path, PathBuf};

/// Where the groups of this process are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnGroups {
    /// In the hierarchy of version 2.
    pub(crate) unified: Option<OwnGroup>,
    /// In the hierarchy of version 1 that has memory.
    pub(crate) memory: Option<OwnGroup>,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnGroup {
    pub(crate) directory: PathBuf,
    /// Where its hierarchy is mounted: nothing above that can be seen.
    pub(crate) top: PathBuf,
}

impl OwnGroups {
    pub(crate) fn find() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self::read(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"))
    }

    /// From the text of these two files (cgroups(7), proc_pid_mountinfo(5)).
    fn read(cgroup: &str, mountinfo: &str) -> Self {
        let mut groups = Self::default();
        for mount in mountinfo.lines().filter_map(Mount::parse) {
            if mount.kind == "cgroup2" {
                let own = cgroup.lines().find_map(|line| line.strip_prefix("0::"));
                groups.unified = groups.unified.or(own.map(|path| mount.group(path)));
            } else if mount.kind == "cgroup" && mount.has("memory") {
                let own = cgroup.lines().find_map(|line| {
                    let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                    controllers.split(',').any(|name| name == "memory").then_some(path)
                });
                groups.memory = groups.memory.or(own.map(|path| mount.group(path)));
            }
        }
        groups
    }

    /// The most memory that this process may have by any of its groups, in bytes. A
    /// group is held to the limits of all that it lies in, so the least of them counts.
    pub(crate) fn memory_limit(&self, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
        let unified = self.unified.iter().flat_map(|own| own.files("memory.max"));
        let memory = self.memory.iter().flat_map(|own| own.files("memory.limit_in_bytes"));
        // "max" is no number, and no limit.
        unified.chain(memory).filter_map(|file| read(&file)?.trim().parse().ok()).min()
    }
}

impl OwnGroup {
    /// The group, and each one that it lies in, as far as can be seen.
    pub(crate) fn upwards(&self) -> impl Iterator<Item = &Path> {
        self.directory.ancestors().take_while(|group| group.starts_with(&self.top))
    }

    fn files(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        self.upwards().map(move |group| group.join(name))
    }
}

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Copy, Debug)]
struct Mount<'a> {
    /// What of the hierarchy is mounted.
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (place, rest) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        let mut rest = rest.split(' ');
        let (kind, _, options) = (rest.next()?, rest.next()?, rest.next()?);
        Some(Self { root, point, kind, options })
    }

    fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|one| one == option)
    }

    /// Where a group is; what lies outside of what is mounted is taken as its top.
    fn group(&self, path: &str) -> OwnGroup {
        let below = Path::new(path).strip_prefix(self.root).unwrap_or(Path::new(""));
        let below = below.strip_prefix("/").unwrap_or(below);
        let outside = below.components().any(|part| part == Component::ParentDir);
        let mut directory = PathBuf::from(self.point);
        if !outside {
            directory.extend(below);
        }
        OwnGroup { directory, top: self.point.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate";
    const MEMORY: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";

    fn group(directory: &str, top: &str) -> Option<OwnGroup> {
        Some(OwnGroup { directory: directory.into(), top: top.into() })
    }

    #[test]
    fn a_group_of_version_2_is_found_below_its_mount() {
        let own = OwnGroups::read("0::/system.slice/web.service/server\n", UNIFIED);
        let expected = "/sys/fs/cgroup/system.slice/web.service/server";
        assert_eq!(own.unified, group(expected, "/sys/fs/cgroup"));
        assert_eq!(own.memory, None);
    }

    #[test]
    fn in_a_container_the_part_that_is_mounted_is_the_top() {
        let mount = "30 23 0:26 /docker/ab /sys/fs/cgroup ro - cgroup2 cgroup rw";
        let inside = |path: &str| OwnGroups::read(path, mount).unified;
        assert_eq!(inside("0::/docker/ab/x"), group("/sys/fs/cgroup/x", "/sys/fs/cgroup"));
        assert_eq!(inside("0::/docker/ab"), group("/sys/fs/cgroup/", "/sys/fs/cgroup"));
        assert_eq!(inside("0::/../other"), group("/sys/fs/cgroup", "/sys/fs/cgroup"));
        let outside = OwnGroups::read("0::/../other", UNIFIED).unified;
        assert_eq!(outside, group("/sys/fs/cgroup", "/sys/fs/cgroup"));
    }

    #[test]
    fn hierarchies_of_version_1_are_told_apart() {
        let mounts = "33 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        let own = "4:memory:/api/x\n1:cpu,cpuacct:/y\n0::/\n";
        let groups = OwnGroups::read(own, mounts);
        let memory = group("/sys/fs/cgroup/memory/api/x", "/sys/fs/cgroup/memory");
        assert_eq!(groups.memory, memory);
        let unified = "/sys/fs/cgroup/unified";
        assert_eq!(groups.unified, group(unified, unified));
        assert_eq!(OwnGroups::read("", "nonsense\n- \n"), OwnGroups::default());
    }

    /// Groups, and what a file in each says.
    type Files = &'static [(&'static str, &'static str)];

    #[test]
    fn the_least_limit_of_all_groups_counts() {
        let inside = "30 23 0:26 /docker/ab /sys/fs/cgroup ro - cgroup2 cgroup rw";
        let both = format!("{UNIFIED}\n{MEMORY}");
        let table: [(&str, &str, Files, Option<u64>); 10] = [
            ("no limit", UNIFIED, &[], None),
            ("max is none", UNIFIED, &[("", "max\n"), ("/a", "max\n"), ("/a/b", "max\n")], None),
            ("its own", UNIFIED, &[("/a/b", "100\n"), ("/a", "max\n")], Some(100)),
            ("of the group above", UNIFIED, &[("/a/b", "max\n"), ("/a", "200\n")], Some(200)),
            ("the group above has less", UNIFIED, &[("/a/b", "300\n"), ("/a", "200\n")], Some(200)),
            ("the group above has more", UNIFIED, &[("/a/b", "100\n"), ("/a", "200\n")], Some(100)),
            ("of the top, as in a container", UNIFIED, &[("", "50\n")], Some(50)),
            ("of a part that is mounted", inside, &[("", "70\n")], Some(70)),
            ("of a sibling", UNIFIED, &[("/a/c", "1\n"), ("/b", "1\n")], None),
            ("of version 1", MEMORY, &[("/memory/a", "80\n"), ("/memory/a/b", "max\n")], Some(80)),
        ];
        for (what, mounts, files, expected) in table {
            let groups = OwnGroups::read("4:memory:/a/b\n0::/a/b\n", mounts);
            let read = |path: &Path| {
                let at = path.parent()?.strip_prefix("/sys/fs/cgroup").ok()?;
                let text =
                    |(group, _): &&(&str, &str)| Path::new(&group[group.len().min(1)..]) == at;
                files.iter().find(text).map(|(_, text)| (*text).to_owned())
            };
            assert_eq!(groups.memory_limit(read), expected, "{what}");
        }
        let groups = OwnGroups::read("4:memory:/a/b\n0::/a/b\n", &both);
        let read = |path: &Path| {
            let name = path.file_name()?.to_str()?;
            Some(if name == "memory.max" { "9\n" } else { "8\n" }.to_owned())
        };
        assert_eq!(groups.memory_limit(read), Some(8), "where both hierarchies have memory");
    }
}
