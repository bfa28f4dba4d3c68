//! As whom the server runs: `PostgreSQL` refuses to be root.
#![expect(
    unsafe_code,
    reason = "asks who we are, and becomes another user between fork and exec"
)]

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// As whom the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunAs {
    /// As whoever started it.
    Caller,
    /// As this user and group.
    User(u32, u32),
    /// As the caller, in a namespace where that is not root.
    Namespace,
}

impl RunAs {
    /// The way that works for these programs and this folder, which becomes the server's.
    pub fn for_files(programs: &Path, folder: &Path) -> io::Result<Self> {
        // SAFETY: has no preconditions and touches no memory.
        if unsafe { libc::geteuid() } != 0 {
            return Ok(Self::Caller);
        }
        // The folder, including the programs in it, becomes the user's own.
        let open = |path: &Path| open_to_all(path, folder);
        let reachable = open(programs) && folder.parent().is_none_or(open);
        if cfg!(target_os = "linux") && !reachable {
            return Ok(Self::Namespace);
        }
        let (user, group) = unprivileged();
        chown(folder, Some(user), Some(group))?;
        Ok(Self::User(user, group))
    }

    /// Makes `command` run so.
    pub fn apply(self, command: &mut Command) {
        match self {
            Self::Caller => {}
            Self::User(user, group) => {
                command.uid(user).gid(group);
            }
            Self::Namespace => {
                // SAFETY: only async-signal-safe calls are made between fork and exec.
                unsafe { command.pre_exec(enter_namespace) };
            }
        }
    }
}

/// Whether an unprivileged user, who owns `own`, can reach `path`.
fn open_to_all(path: &Path, own: &Path) -> bool {
    path.ancestors()
        .all(|part| part == own || fs::metadata(part).map_or(true, |meta| meta.mode() & 0o001 != 0))
}

/// The user `postgres` where there is one, else `nobody`.
fn unprivileged() -> (u32, u32) {
    const NOBODY: u32 = 65534;
    let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let ids = |name: &str| {
        let line = text
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    ids("postgres")
        .or_else(|| ids("nobody"))
        .unwrap_or((NOBODY, NOBODY))
}

#[cfg(target_os = "linux")]
fn enter_namespace() -> io::Result<()> {
    fn put(path: &core::ffi::CStr, text: &[u8]) -> io::Result<()> {
        // SAFETY: the path ends with a zero byte and the text is as long as said.
        unsafe {
            let file = libc::open(path.as_ptr(), libc::O_WRONLY);
            if file < 0 || libc::write(file, text.as_ptr().cast(), text.len()) < 0 {
                return Err(io::Error::last_os_error());
            }
            libc::close(file);
        }
        Ok(())
    }
    // SAFETY: has no preconditions and touches no memory.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER) } != 0 {
        return Err(io::Error::last_os_error());
    }
    put(c"/proc/self/setgroups", b"deny")?;
    put(c"/proc/self/uid_map", b"1000 0 1")?;
    put(c"/proc/self/gid_map", b"1000 0 1")
}

#[cfg(not(target_os = "linux"))]
fn enter_namespace() -> io::Result<()> {
    Ok(())
}
