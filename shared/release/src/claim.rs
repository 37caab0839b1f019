//! The claim: what stands in a release's record until it is sealed, and how to tell that its builder is dead.

use rustix::process::{Pid, test_kill_process};
use std::fs;
use std::path::Path;
use uuid::Uuid;

/// No abandoned claim is longer, in bytes. With [`LONGEST_CLAIM`] it lets a plain listing of the store tell sealed
/// records, claims and abandoned claims apart by their size, so that a store of thousands costs no thousand reads.
pub const LONGEST_ABANDONED: usize = 64;
/// No claim is longer, in bytes, and every sealed record is.
pub const LONGEST_CLAIM: usize = 256;
const LONGEST_HOST: usize = 32;

/// What an unsealed record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A builder works on this number, or died over it.
    Claimed {
        /// Names the build; the artifact's metadata carries it too.
        build: Uuid,
        /// The process that builds.
        builder: Builder,
    },
    /// The number is used up and will never be a release.
    Abandoned {
        /// The build that had claimed it.
        build: Uuid,
    },
}

impl Claim {
    /// The claim of a build that this process does.
    #[must_use]
    pub fn of_this_process(build: Uuid) -> Self {
        Self::Claimed { build, builder: Builder::this_process() }
    }

    /// The claim's text.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let text = match self {
            Self::Claimed { build, builder } => format!(
                "STATE=claimed\nBUILD_UUID={build}\nMACHINE_ID={}\nBOOT_ID={}\nPID_NAMESPACE={}\nPID={}\nSTART_TIME={}\nHOST={}\n",
                builder.machine, builder.boot, builder.pid_namespace, builder.pid, builder.start_time, builder.host,
            ),
            Self::Abandoned { build } => format!("STATE=abandoned\nBUILD_UUID={build}\n"),
        };
        text.into_bytes()
    }

    /// Parses a claim; `None` for anything else, a sealed record for instance.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let get = |wanted: &str| {
            text.lines().filter_map(|line| line.split_once('=')).find(|(key, _)| *key == wanted).map(|(_, value)| value)
        };
        let build = get("BUILD_UUID").and_then(|uuid| uuid.parse().ok());
        // An old script's record may have a line of that name among its own.
        match text.lines().next()?.strip_prefix("STATE=")? {
            "claimed" => Some(Self::Claimed {
                build: build?,
                builder: Builder {
                    machine: get("MACHINE_ID")?.to_owned(),
                    boot: get("BOOT_ID")?.to_owned(),
                    pid_namespace: get("PID_NAMESPACE")?.parse().ok()?,
                    pid: get("PID")?.parse().ok()?,
                    start_time: get("START_TIME")?.parse().ok()?,
                    host: get("HOST").unwrap_or_default().to_owned(),
                },
            }),
            "abandoned" => Some(Self::Abandoned { build: build.unwrap_or_default() }),
            _ => None,
        }
    }
}

/// A building process, named so that another process on the same host can tell whether it still runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Builder {
    /// `/etc/machine-id`; cloned images share it, so it proves nothing alone.
    machine: String,
    /// The kernel's id of this boot.
    boot: String,
    /// Inode of the process id namespace: the same pid in another container is another process.
    pid_namespace: u64,
    pid: i32,
    /// Clock ticks from boot to the process's start: tells a reused pid apart.
    start_time: u64,
    /// For people.
    host: String,
}

impl Builder {
    /// This process.
    #[must_use]
    pub fn this_process() -> Self {
        let line = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().chars().take(36).collect();
        let own = Pid::as_raw(Some(rustix::process::getpid()));
        let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self {
            machine: line("/etc/machine-id"),
            boot: line("/proc/sys/kernel/random/boot_id"),
            pid_namespace: own_pid_namespace(),
            pid: own,
            start_time: start_time(own).unwrap_or(0),
            host: node.chars().filter(char::is_ascii_graphic).take(LONGEST_HOST).collect(),
        }
    }

    /// Whether this builder certainly runs no more. False whenever that can't be proven from here: another host,
    /// another boot (images are cloned with their machine id), another process id namespace.
    #[must_use]
    pub fn is_proven_dead(&self) -> bool {
        let here = Self::this_process();
        let same_place = !self.boot.is_empty()
            && (&self.machine, &self.boot, self.pid_namespace) == (&here.machine, &here.boot, here.pid_namespace);
        if !same_place {
            return false;
        }
        let Some(pid) = Pid::from_raw(self.pid) else {
            return false;
        };
        // A signal asks the kernel itself; /proc may hide other users' processes.
        if test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
            return true;
        }
        match (start_time(self.pid), self.start_time) {
            (Some(now), then) if then != 0 => now != then || is_zombie(self.pid),
            _ => false,
        }
    }

    /// Where it runs, for people: host and pid.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", if self.host.is_empty() { "unknown" } else { &self.host }, self.pid)
    }
}

fn own_pid_namespace() -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self/ns/pid").map_or(0, |meta| meta.ino())
}

/// Field 22 of proc(5)'s `stat`; the command name before it may hold spaces and parentheses.
fn start_time(pid: i32) -> Option<u64> {
    stat_fields(pid)?.split_whitespace().nth(19)?.parse().ok()
}

/// A process that has ended and only waits for its parent to notice builds no more.
fn is_zombie(pid: i32) -> bool {
    stat_fields(pid).is_some_and(|fields| matches!(fields.split_whitespace().next(), Some("Z" | "X")))
}

/// What follows the command name in proc(5)'s `stat`: state, ppid, …
fn stat_fields(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    stat.rsplit_once(')').map(|(_, fields)| fields.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_an_ended_one_is_dead() {
        let mut builder = Builder::this_process();
        assert!(!builder.is_proven_dead());
        builder.start_time += 1;
        assert!(builder.is_proven_dead(), "the pid was taken by a later process");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        builder.pid = i32::try_from(child.id()).unwrap();
        builder.start_time = start_time(builder.pid).unwrap_or(1);
        child.wait().unwrap();
        assert!(builder.is_proven_dead());
    }

    #[test]
    fn elsewhere_nothing_is_proven() {
        let mut builder = Builder { pid: 999_999_999, ..Builder::this_process() };
        assert!(builder.is_proven_dead());
        builder.boot = "another".into();
        assert!(!builder.is_proven_dead());
    }

    #[test]
    fn only_the_first_line_makes_a_claim() {
        let old = b"MODULE=obelix\nVERSION=41\nBUILD=\nTIMESTAMP=x\nSTATE=abandoned\n";
        assert_eq!(Claim::parse(old), None);
    }

    #[test]
    fn sizes_tell_the_states_apart() {
        let builder = Builder {
            machine: "m".repeat(32),
            boot: "b".repeat(36),
            pid_namespace: 4_294_967_295,
            pid: 4_194_304,
            start_time: 999_999_999_999,
            host: "h".repeat(LONGEST_HOST),
        };
        let build = Uuid::new_v4();
        let claimed = Claim::Claimed { build, builder: builder.clone() };
        assert!(claimed.to_bytes().len() <= LONGEST_CLAIM);
        assert_eq!(Claim::parse(&claimed.to_bytes()), Some(claimed));
        let least = Builder {
            machine: String::new(),
            boot: String::new(),
            pid_namespace: 0,
            pid: 1,
            start_time: 0,
            host: String::new(),
        };
        assert!(Claim::Claimed { build, builder: least }.to_bytes().len() > LONGEST_ABANDONED);
        let abandoned = Claim::Abandoned { build };
        assert!(abandoned.to_bytes().len() <= LONGEST_ABANDONED);
        assert_eq!(Claim::parse(&abandoned.to_bytes()), Some(abandoned));
    }
}
