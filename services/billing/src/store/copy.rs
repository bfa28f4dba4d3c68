//! Rows in PostgreSQL's binary COPY format.

use chassis::PgConnection;
use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

/// The PostgreSQL epoch, 2000-01-01, in microseconds since 1970.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: &[u8] = &[0xff, 0xff];

/// A batch of rows for one table.
#[derive(Debug)]
pub struct Rows {
    into: String,
    columns: i16,
    bytes: Vec<u8>,
}

impl Rows {
    /// An empty batch for these columns of a table.
    pub fn new(table: &str, columns: &[&str]) -> Self {
        Self {
            into: format!(
                "COPY {table} ({}) FROM STDIN (FORMAT binary)",
                columns.join(", ")
            ),
            columns: i16::try_from(columns.len()).expect("a table has at most 1,600 columns"),
            bytes: HEADER.to_vec(),
        }
    }

    /// Starts a row; one value per column must follow.
    pub fn row(&mut self) {
        self.bytes.extend_from_slice(&self.columns.to_be_bytes());
    }

    fn value(&mut self, bytes: &[u8]) {
        let length = i32::try_from(bytes.len()).expect("no value is longer than two gigabytes");
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(bytes);
    }

    /// A `uuid`.
    pub fn uuid(&mut self, value: Uuid) {
        self.value(value.as_bytes());
    }

    /// A `uuid` or null.
    pub fn optional_uuid(&mut self, value: Option<Uuid>) {
        match value {
            Some(value) => self.uuid(value),
            None => self.bytes.extend_from_slice(&(-1_i32).to_be_bytes()),
        }
    }

    /// A `bigint`.
    pub fn bigint(&mut self, value: i64) {
        self.value(&value.to_be_bytes());
    }

    /// An `integer`.
    pub fn integer(&mut self, value: i32) {
        self.value(&value.to_be_bytes());
    }

    /// A `boolean`.
    pub fn boolean(&mut self, value: bool) {
        self.value(&[u8::from(value)]);
    }

    /// A `smallint`.
    pub fn smallint(&mut self, value: i16) {
        self.value(&value.to_be_bytes());
    }

    /// A `text`.
    pub fn text(&mut self, value: &str) {
        self.value(value.as_bytes());
    }

    /// A `date`.
    pub fn date(&mut self, value: NaiveDate) {
        let epoch = NaiveDate::from_ymd_opt(2000, 1, 1).expect("2000-01-01 is a date");
        let days = i32::try_from((value - epoch).num_days())
            .expect("the range of NaiveDate in days fits 32 bits");
        self.value(&days.to_be_bytes());
    }

    /// A `timestamptz`.
    pub fn timestamptz(&mut self, value: DateTime<Utc>) {
        self.bigint(value.timestamp_micros() - EPOCH_MICROS);
    }

    /// Writes the rows in the caller's transaction; returns how many. No rows cost nothing.
    pub async fn copy(mut self, db: &mut PgConnection) -> sqlx::Result<u64> {
        if self.bytes.len() == HEADER.len() {
            return Ok(0);
        }
        self.bytes.extend_from_slice(TRAILER);
        db.copy_in(&self.into, self.bytes).await
    }
}
