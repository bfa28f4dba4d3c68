//! A private `PostgreSQL` cluster in one folder: for the local suite and for the tests.
//!
//! The server listens only on a Unix socket in that folder, which only its owner can open. Every connection is
//! trusted to be the role that it names, and no other user of the machine can connect.
//!
//! It uses what is on the machine, or fetches the server programs into the folder; it needs no
//! rights and installs nothing. `PostgreSQL` refuses to run as root: then it runs as an unprivileged
//! user, or, where that user could not reach the files, in a user namespace.

mod find;
mod provision;
mod run_as;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use thiserror::Error;

pub use provision::{SERVICES, provision, url_of};
use run_as::RunAs;

/// Why there is no cluster.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// No server programs, and none could be fetched.
    #[error(
        "no PostgreSQL server found and none could be fetched: apt-get install postgresql (Debian, Ubuntu), \
         brew install postgresql@17 (macOS), or set PG_BIN to a folder with initdb and postgres ({0})"
    )]
    NotFound(String),
    /// A program of `PostgreSQL` failed.
    #[error("{program} failed: {output}")]
    Program {
        /// Which.
        program: &'static str,
        /// What it said.
        output: String,
    },
    /// A socket in the folder would have too long a path.
    #[error("{} is too long for a socket path, which is limited to 107 bytes: choose a shorter folder", .0.display())]
    PathTooLong(PathBuf),
    /// A file or process could not be handled.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Whether what is committed survives a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// As in production: `fsync` on.
    Kept,
    /// For tests: faster, lost with the machine.
    ThrownAway,
}

/// The number in the socket's name; no TCP port is used.
const PORT: u16 = 5432;
/// The longest path that a socket may have, in bytes: the system's 108 less the zero at its end.
const SOCKET_PATH_MAX: usize = 107;

/// A running cluster; stops when dropped.
#[derive(Debug)]
pub struct Cluster {
    /// Where its programs are.
    programs: PathBuf,
    /// Where it lives.
    folder: PathBuf,
    /// As whom it runs.
    run_as: RunAs,
    /// The number in the name of its socket.
    port: u16,
    /// Whether what is committed survives.
    durability: Durability,
}

impl Cluster {
    /// The cluster in `folder`: made when there is none, started when it does not run, taken over
    /// when it runs still because whoever started it was killed.
    pub fn open(folder: &Path, durability: Durability) -> Result<Self, ClusterError> {
        fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        let socket = folder.join(format!(".s.PGSQL.{PORT}"));
        if SOCKET_PATH_MAX < socket.as_os_str().len() {
            return Err(ClusterError::PathTooLong(folder));
        }
        let programs = find::server_programs(&folder)?;
        let run_as = RunAs::for_files(&programs, &folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        let mut cluster = Self {
            programs,
            folder,
            run_as,
            port: PORT,
            durability,
        };
        if !cluster.data().join("PG_VERSION").exists() {
            let data = cluster.data();
            let arguments: [&OsStr; 9] = [
                "-D".as_ref(),
                data.as_ref(),
                "-U".as_ref(),
                "postgres".as_ref(),
                "--auth-local=trust".as_ref(),
                "--auth-host=reject".as_ref(),
                "--no-sync".as_ref(),
                "--encoding=UTF8".as_ref(),
                "--locale=C".as_ref(),
            ];
            cluster.run("initdb", &arguments)?;
        }
        match cluster.running_on() {
            Some(port) => cluster.port = port,
            None => cluster.start()?,
        }
        Ok(cluster)
    }

    /// Where the server's socket is, and its port.
    pub fn socket(&self) -> (&Path, u16) {
        (&self.folder, self.port)
    }

    /// The URL of a database for a role, over the Unix socket.
    pub fn url(&self, role: &str, database: &str) -> String {
        url_of(&self.folder, self.port, role, database)
    }

    /// The process id of the server.
    pub fn pid(&self) -> Option<i32> {
        self.pid_file()?.first()?.trim().parse().ok()
    }

    /// Stops the server at once; what was committed is kept.
    pub fn stop(&self) {
        let _ = self.end("fast");
    }

    /// Ends the server as a crash would, with every connection, and starts it again: it recovers what was committed, if
    /// that is [`Durability::Kept`].
    pub fn crash(&self) -> Result<(), ClusterError> {
        self.end("immediate")?;
        self.start()
    }

    /// Writes a logical dump of a database into the cluster's folder; gives its file.
    pub fn dump(&self, database: &str) -> Result<PathBuf, ClusterError> {
        let file = self.folder.join(format!("{database}.dump"));
        let url = self.url("postgres", database);
        let arguments: [&OsStr; 4] = [
            "--format=custom".as_ref(),
            "--file".as_ref(),
            file.as_ref(),
            url.as_ref(),
        ];
        self.run("pg_dump", &arguments)?;
        Ok(file)
    }

    /// Restores a logical dump, of this or another cluster, into an empty database.
    pub fn restore(&self, database: &str, dump: &Path) -> Result<(), ClusterError> {
        let url = self.url("postgres", database);
        let arguments: [&OsStr; 4] = [
            "--exit-on-error".as_ref(),
            "--dbname".as_ref(),
            url.as_ref(),
            dump.as_ref(),
        ];
        self.run("pg_restore", &arguments)
    }

    /// Ends the server in a mode of `pg_ctl`; gives whether there was one.
    fn end(&self, mode: &str) -> io::Result<bool> {
        let data = self.data();
        let arguments: [&OsStr; 6] = [
            "-D".as_ref(),
            data.as_ref(),
            "-m".as_ref(),
            mode.as_ref(),
            "-w".as_ref(),
            "stop".as_ref(),
        ];
        self.quiet("pg_ctl", &arguments)
    }

    /// The folder with its files.
    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// One of its programs, to be run as the right user.
    fn command(&self, program: &'static str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(&self.folder).stdin(Stdio::null());
        for variable in [
            "PGDATA",
            "PGHOST",
            "PGPORT",
            "PGUSER",
            "PGOPTIONS",
            "PGDATABASE",
        ] {
            command.env_remove(variable);
        }
        self.run_as.apply(&mut command);
        command
    }

    /// Runs a program to its end.
    fn run(&self, program: &'static str, arguments: &[&OsStr]) -> Result<(), ClusterError> {
        let output = self.command(program).args(arguments).output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(ClusterError::Program {
            program,
            output: String::from_utf8_lossy(&said).into_owned(),
        })
    }

    /// Runs a program without pipes: a server that inherited one would keep it open for ever.
    fn quiet(&self, program: &'static str, arguments: &[&OsStr]) -> io::Result<bool> {
        let mut command = self.command(program);
        let status = command
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        Ok(status.success())
    }

    /// The lines of `postmaster.pid`: pid, folder, start, port, socket, address, memory, status.
    fn pid_file(&self) -> Option<Vec<String>> {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        Some(text.lines().map(str::to_owned).collect())
    }

    /// The port of a server that runs already.
    fn running_on(&self) -> Option<u16> {
        let lines = self.pid_file()?;
        let pid: u32 = lines.first()?.trim().parse().ok()?;
        let alive =
            Path::new("/proc").join(pid.to_string()).exists() || !Path::new("/proc/self").exists();
        let ready = lines.get(7)?.trim() == "ready";
        if alive && ready {
            lines.get(3)?.trim().parse().ok()
        } else {
            None
        }
    }

    /// Starts the server.
    fn start(&self) -> Result<(), ClusterError> {
        let log = self.folder.join("log");
        let data = self.data();
        let mut options = format!(
            "-p {PORT} -c listen_addresses='' -c unix_socket_directories='{}' -c max_connections=300 \
             -c shared_buffers=512MB -c max_wal_size=4GB -c wal_compression=off -c checkpoint_timeout=15min \
             -c jit=off -c log_min_messages=warning",
            self.folder.display()
        );
        if self.durability == Durability::ThrownAway {
            options.push_str(" -c fsync=off -c full_page_writes=off -c synchronous_commit=off");
        }
        let arguments: [&OsStr; 10] = [
            "-D".as_ref(),
            data.as_ref(),
            "-l".as_ref(),
            log.as_ref(),
            "-w".as_ref(),
            "-t".as_ref(),
            "60".as_ref(),
            "-o".as_ref(),
            options.as_ref(),
            "start".as_ref(),
        ];
        if self.quiet("pg_ctl", &arguments)? {
            return Ok(());
        }
        let output = fs::read_to_string(&log).unwrap_or_default();
        Err(ClusterError::Program {
            program: "postgres",
            output,
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}
