//! What people see: tables, progress, JSON.
#![expect(clippy::print_stdout, reason = "this is what a command prints")]

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

use crate::Failure;

/// How a command prints its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON value.
    Json,
}

/// Prints a line.
pub fn line(text: impl AsRef<str>) {
    println!("{}", text.as_ref());
}

/// Prints a message as JSON; `name` is its full name in the contract.
pub fn json<M: Message>(name: &str, message: &M) -> Result<(), Failure> {
    line(serde_json::to_string_pretty(&json_value(name, message)?)?);
    Ok(())
}

/// A message as JSON.
pub fn json_value<M: Message>(name: &str, message: &M) -> Result<serde_json::Value, Failure> {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS)?;
    let descriptor = pool.get_message_by_name(name).ok_or("no such message")?;
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())?;
    let options = SerializeOptions::new().skip_default_fields(false);
    Ok(dynamic.serialize_with_options(serde_json::value::Serializer, &options)?)
}

/// Prints rows under their heads, if these have names; numbers to the right.
pub fn table(heads: &[&str], rows: &[Vec<String>]) {
    let wide = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells
            .chain(heads.get(column).map(|head| head.chars().count()))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(wide).collect();
    let numeric = |cell: &str| {
        cell.chars()
            .all(|c| c.is_ascii_digit() || ".,-%".contains(c))
            && !cell.is_empty()
    };
    let print = |cells: &[String]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| {
                let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
                if numeric(cell) {
                    format!("{pad}{cell}")
                } else {
                    format!("{cell}{pad}")
                }
            })
            .collect();
        line(format!("  {}", padded.join("  ").trim_end()));
    };
    if heads.iter().any(|head| !head.is_empty()) {
        let names = heads.iter().map(|head| (*head).to_owned());
        let rules = widths.iter().map(|width| "-".repeat(*width));
        print(&names.collect::<Vec<_>>());
        print(&rules.collect::<Vec<_>>());
    }
    for row in rows {
        print(row);
    }
}

/// How often work that goes on is told of where there is no terminal.
const EVERY: Duration = Duration::from_secs(1);

/// Long work: a bar with rate and remaining time on a terminal, a line a second elsewhere.
pub struct Progress {
    bar: Option<ProgressBar>,
    what: String,
    total: u64,
    done: u64,
    begun: Instant,
    told: Instant,
}

impl Progress {
    /// Begins work of `total` things.
    pub fn begin(what: &str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{msg:24} [{bar:40}] {pos}/{len} {per_sec} eta {eta}");
            ProgressBar::new(total)
                .with_message(what.to_owned())
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self {
            bar,
            what: what.to_owned(),
            total,
            done: 0,
            begun: Instant::now(),
            told: Instant::now(),
        }
    }

    /// Notes how many things are done.
    pub fn at(&mut self, done: u64) {
        self.done = done.min(self.total.max(done));
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if EVERY <= self.told.elapsed() {
            self.told = Instant::now();
            line(format!(
                "{}: {done} of {} ({}/s)",
                self.what,
                self.total,
                self.rate()
            ));
        }
    }

    /// Notes that more things are done.
    pub fn more(&mut self, count: u64) {
        self.at(self.done + count);
    }

    /// Ends it with a line of what was done.
    pub fn end(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        line(format!(
            "{}: {} in {:.1?} ({}/s)",
            self.what,
            self.done,
            self.begun.elapsed(),
            self.rate()
        ));
    }

    fn rate(&self) -> u128 {
        u128::from(self.done) * 1000 / self.begun.elapsed().as_millis().max(1)
    }
}
