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

/// Prints messages as a JSON list; `name` is the full name of each in the contract.
pub fn json_list<M: Message>(name: &str, messages: &[M]) -> Result<(), Failure> {
    let values: Result<Vec<_>, Failure> = messages.iter().map(|it| json_value(name, it)).collect();
    line(serde_json::to_string_pretty(&values?)?);
    Ok(())
}

/// How many columns text is fitted into.
pub const WIDTH: usize = 80;

/// Prints rows under their heads, if these have names; numbers to the right.
pub fn table(heads: &[&str], rows: &[Vec<String>]) {
    lines(&tabled(heads, rows));
}

/// Prints lines.
pub fn lines(texts: &[String]) {
    for text in texts {
        line(text);
    }
}

/// Rows under their heads, if these have names; numbers to the right. Cells are wrapped at words until a row fits into
/// `WIDTH`; where words are too long for that, each row is a list of its cells.
pub fn tabled(heads: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let (mut widths, mut least) = (Vec::new(), Vec::new());
    for (place, head) in heads.iter().enumerate() {
        let cells = rows.iter().filter_map(|row| row.get(place));
        let cells: Vec<&str> = cells.map(String::as_str).chain([*head]).collect();
        widths.push(cells.iter().map(|cell| length(cell)).max().unwrap_or(0));
        let words = cells.iter().flat_map(|cell| cell.split(' '));
        least.push(words.map(length).max().unwrap_or(0));
    }
    let Some(widths) = fitted(widths, &least) else {
        return listed(heads, rows);
    };
    let mut texts = Vec::new();
    if heads.iter().any(|head| !head.is_empty()) {
        let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        texts.extend(columns(heads, &widths));
        texts.extend(columns(&rules, &widths));
    }
    for row in rows {
        texts.extend(columns(row, &widths));
    }
    texts
}

/// The widths with which a row fits, the widest made narrower first, but none narrower than its longest word.
fn fitted(mut widths: Vec<usize>, least: &[usize]) -> Option<Vec<usize>> {
    loop {
        let needed = widths.iter().map(|width| width + 2).sum::<usize>();
        if needed <= WIDTH {
            return Some(widths);
        }
        let narrower = widths
            .iter_mut()
            .zip(least)
            .filter(|(width, least)| **least < **width);
        let (width, least) = narrower.max_by_key(|(width, _)| **width)?;
        *width -= (needed - WIDTH).min(*width - *least);
    }
}

/// A row in columns: as many lines as its highest cell has.
fn columns<S: AsRef<str>>(cells: &[S], widths: &[usize]) -> Vec<String> {
    let cells: Vec<Vec<String>> = cells
        .iter()
        .zip(widths)
        .map(|(cell, width)| wrapped(cell.as_ref(), *width))
        .collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    let at = |place: usize| {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| {
                let text = cell.get(place).map_or("", String::as_str);
                let pad = " ".repeat(width.saturating_sub(length(text)));
                if numeric(text) {
                    format!("{pad}{text}")
                } else {
                    format!("{text}{pad}")
                }
            })
            .collect();
        format!("  {}", padded.join("  ").trim_end())
    };
    (0..height).map(at).collect()
}

/// Rows as lists of their cells, each after its head.
fn listed(heads: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let width = heads.iter().map(|head| length(head)).max().unwrap_or(0);
    let mut texts = Vec::new();
    for row in rows {
        if !texts.is_empty() {
            texts.push(String::new());
        }
        for (head, cell) in heads.iter().zip(row) {
            texts.extend(labelled(&format!("  {head:<width$}  "), cell));
        }
    }
    texts
}

/// Text after a label, wrapped at words; what follows the first line is below the text.
pub fn labelled(label: &str, text: &str) -> Vec<String> {
    let indent = " ".repeat(length(label));
    let wrapped = wrapped(text, WIDTH.saturating_sub(length(label)));
    let with_label = |(place, part): (usize, String)| {
        let before = if place == 0 { label } else { indent.as_str() };
        format!("{before}{part}").trim_end().to_owned()
    };
    wrapped.into_iter().enumerate().map(with_label).collect()
}

/// Text in lines of a width, wrapped at words; a longer word has a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    if length(text) <= width {
        return vec![text.to_owned()];
    }
    let (mut texts, mut last) = (Vec::new(), String::new());
    for word in text.split_whitespace() {
        if !last.is_empty() && width < length(&last) + 1 + length(word) {
            texts.push(std::mem::take(&mut last));
        }
        if !last.is_empty() {
            last.push(' ');
        }
        last.push_str(word);
    }
    texts.push(last);
    texts
}

/// How many columns text takes.
fn length(text: &str) -> usize {
    text.chars().count()
}

/// Whether a cell is a number.
fn numeric(cell: &str) -> bool {
    !cell.is_empty()
        && cell
            .chars()
            .all(|c| c.is_ascii_digit() || ".,-%".contains(c))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        let row = |row: &&[&str]| row.iter().map(|cell| (*cell).to_owned()).collect();
        rows.iter().map(row).collect()
    }

    #[test]
    fn a_table_that_fits_has_numbers_to_the_right() {
        let rows = rows(&[&["production", "1.50"], &["a", "10.00"]]);
        assert_eq!(
            tabled(&["plan", "amount"], &rows),
            [
                "  plan        amount",
                "  ----------  ------",
                "  production    1.50",
                "  a            10.00",
            ]
        );
        assert_eq!(
            tabled(&["", ""], &rows),
            ["  production   1.50", "  a           10.00"]
        );
    }

    #[test]
    fn the_widest_cells_are_wrapped_at_words_until_a_row_fits() {
        let account = format!("AC{}", "0".repeat(32));
        let why = "the plan was bought under a catalogue version that is not there any more";
        let rows = rows(&[&[account.as_str(), "12", why, "waits"]]);
        let texts = tabled(&["account", "tries", "reason", "state"], &rows);
        assert!(texts.iter().all(|it| length(it) <= WIDTH), "{texts:#?}");
        assert!(4 < texts.len(), "{texts:#?}");
        let told: Vec<&str> = texts.iter().flat_map(|it| it.split_whitespace()).collect();
        for word in why.split(' ').chain([account.as_str()]) {
            assert!(told.contains(&word), "{word} in one piece: {texts:#?}");
        }
    }

    #[test]
    fn a_row_that_cannot_fit_is_a_list_of_its_cells() {
        let (account, charge) = (
            format!("AC{}", "0".repeat(32)),
            format!("CH{}", "0".repeat(32)),
        );
        let why = "x ".repeat(60);
        let one = [
            account.as_str(),
            charge.as_str(),
            why.trim(),
            "ACCOUNT_NOT_FOUND",
        ];
        let texts = tabled(&["account", "of", "why", "code"], &rows(&[&one, &one]));
        assert_eq!(texts.first(), Some(&format!("  account  {account}")));
        assert!(texts.iter().all(|it| length(it) <= WIDTH), "{texts:#?}");
        assert!(texts.contains(&String::new()), "one after the other");
    }

    #[test]
    fn what_follows_a_label_is_below_its_text() {
        let texts = labelled("wrong  ", &"word ".repeat(20));
        assert_eq!(texts.len(), 2);
        assert!(texts.iter().all(|it| length(it) <= WIDTH), "{texts:#?}");
        assert!(texts[0].starts_with("wrong  word") && texts[1].starts_with("       word"));
        assert_eq!(labelled("ok  ", ""), ["ok"]);
    }
}
