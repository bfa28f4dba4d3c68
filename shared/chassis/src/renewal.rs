//! Files that may be renewed while the service runs: certificates, and the keys of tokens.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use crate::Chain;

/// How often files are looked at.
const EVERY: Duration = Duration::from_secs(5);

/// Reads files anew.
type Read = Box<dyn Fn() -> Result<(), Box<dyn Error>> + Send>;

/// When a file was changed, and its length; `None` for one that is not there.
type Stamp = Option<(SystemTime, u64)>;

/// Files, and what reads them anew when they change.
pub struct Renewal {
    what: &'static str,
    files: Vec<PathBuf>,
    /// Their stamps when they were read last; empty if that failed.
    seen: Vec<Stamp>,
    read: Read,
}

impl Renewal {
    /// `read` reads `files` anew; until it can, what was read before stays in use. They are read once more at first,
    /// as they may have changed meanwhile.
    pub fn new(
        what: &'static str,
        files: Vec<PathBuf>,
        read: impl Fn() -> Result<(), Box<dyn Error>> + Send + 'static,
    ) -> Self {
        Self {
            what,
            files,
            seen: Vec::new(),
            read: Box::new(read),
        }
    }

    /// Reads the files anew if one has changed.
    fn look(&mut self) {
        let stamp = |file: &PathBuf| {
            let read = fs::metadata(file).ok()?;
            Some((read.modified().ok()?, read.len()))
        };
        // Taken before reading: what changes meanwhile is read the next time.
        let now: Vec<Stamp> = self.files.iter().map(stamp).collect();
        if now == self.seen {
            return;
        }
        match (self.read)() {
            Ok(()) => {
                tracing::info!(what = self.what, "read");
                self.seen = now;
            }
            Err(error) => {
                let error = Chain(error.as_ref());
                tracing::warn!(what = self.what, %error, "not renewed");
                self.seen.clear();
            }
        }
    }
}

/// Looks at files until `stop`.
pub async fn renew(mut files: Vec<Renewal>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        for files in &mut files {
            files.look();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn files_are_read_when_they_change_and_again_until_they_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys");
        fs::write(&file, "a").unwrap();
        let read = Arc::new(Mutex::new(Vec::new()));
        let (reads, from) = (read.clone(), file.clone());
        let mut renewal = Renewal::new("keys", vec![file.clone()], move || {
            let text = fs::read_to_string(&from)?;
            reads.lock().unwrap().push(text.clone());
            if text == "bad" {
                return Err("bad".into());
            }
            Ok(())
        });
        let mut looks = |expected: &[&str]| {
            renewal.look();
            assert_eq!(std::mem::take(&mut *read.lock().unwrap()), expected);
        };
        looks(&["a"]);
        looks(&[]);
        fs::write(&file, "bad").unwrap();
        looks(&["bad"]);
        looks(&["bad"]);
        // As Kubernetes does: the name stands for another file.
        fs::write(folder.path().join("next"), "good").unwrap();
        fs::rename(folder.path().join("next"), &file).unwrap();
        looks(&["good"]);
        looks(&[]);
        fs::remove_file(&file).unwrap();
        looks(&[]);
        fs::write(&file, "good").unwrap();
        looks(&["good"]);
    }
}
