//! A mail server of this machine: takes every mail and keeps it as a file, so that it can be read.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::Failure;

/// How long it is waited after a connection could not be taken.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a line, and a mail, may be, in bytes.
const LINE_MAX: u64 = 4_096;
const MAIL_MAX: usize = 32 * 1024 * 1024;

/// A mail that was taken.
#[derive(Debug, Serialize)]
pub struct Mail {
    /// The file that it is kept in.
    pub file: PathBuf,
    /// Whom it is to.
    pub to: String,
    /// What it is about.
    pub subject: String,
    /// The mail as it came, headers and attachments included.
    #[serde(skip)]
    pub source: String,
}

/// Takes mail into `folder` for as long as this process lives; gives the server's URL.
pub async fn open(folder: &Path) -> Result<String, Failure> {
    std::fs::create_dir_all(folder)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("smtp://{}", listener.local_addr()?);
    let last = list(folder)?.pop();
    let number = |mail: &Mail| mail.file.file_stem()?.to_str()?.parse::<usize>().ok();
    let last = last.as_ref().and_then(number).unwrap_or(0);
    let next = Arc::new(AtomicUsize::new(last + 1));
    let folder: Arc<Path> = folder.into();
    #[expect(
        clippy::disallowed_methods,
        reason = "a server for as long as the process lives"
    )]
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let (folder, next) = (folder.clone(), next.clone());
            tokio::spawn(async move {
                if let Err(error) = session(stream, &folder, &next).await {
                    tracing::debug!(%error, "a mail session ended early");
                }
            });
        }
    });
    Ok(url)
}

/// One session of SMTP (RFC 5321), as far as a client without extensions needs it.
async fn session(stream: TcpStream, folder: &Path, next: &AtomicUsize) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 perdiem mail sink\r\n").await?;
    loop {
        let mut line = String::new();
        if (&mut stream).take(LINE_MAX).read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let command = line
            .split_ascii_whitespace()
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase();
        let answer: &[u8] = match command.as_str() {
            "EHLO" | "HELO" => b"250 perdiem\r\n",
            "MAIL" | "RCPT" | "RSET" | "NOOP" => b"250 ok\r\n",
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                let mail = data(&mut stream).await?;
                let number = next.fetch_add(1, Ordering::Relaxed);
                let part = folder.join(format!("{number:06}.part"));
                tokio::fs::write(&part, mail).await?;
                tokio::fs::rename(&part, folder.join(format!("{number:06}.eml"))).await?;
                b"250 kept\r\n"
            }
            _ => b"502 not known\r\n",
        };
        stream.write_all(answer).await?;
    }
}

/// The mail up to its dot.
async fn data(stream: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
    let mut mail = Vec::new();
    loop {
        let start = mail.len();
        let limit = u64::try_from(MAIL_MAX - start).unwrap_or(0);
        if (&mut *stream)
            .take(limit)
            .read_until(b'\n', &mut mail)
            .await?
            == 0
        {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if mail.get(start..) == Some(b".\r\n") {
            mail.truncate(start);
            return Ok(mail);
        }
        if mail.get(start) == Some(&b'.') {
            mail.remove(start);
        }
    }
}

/// The mails in `folder`, oldest first.
pub fn list(folder: &Path) -> Result<Vec<Mail>, Failure> {
    let mut files = Vec::new();
    if folder.exists() {
        for entry in std::fs::read_dir(folder)? {
            let file = entry?.path();
            if file.extension().is_some_and(|it| it == "eml") {
                files.push(file);
            }
        }
    }
    files.sort();
    let mut mails = Vec::new();
    for file in files {
        let source = String::from_utf8_lossy(&std::fs::read(&file)?).into_owned();
        let header = |name: &str| {
            let mut lines = source.lines().take_while(|line| !line.is_empty());
            let found = lines.find_map(|line| line.strip_prefix(name));
            found.unwrap_or_default().to_owned()
        };
        mails.push(Mail {
            to: header("To: "),
            subject: header("Subject: "),
            file,
            source,
        });
    }
    Ok(mails)
}
