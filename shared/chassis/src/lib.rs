//! What every service stands on: configuration, clock, callers, admission, errors to the wire,
//! units of work, jobs, telemetry.
//!
//! A request enters at [`gate`](crate::Gate): who calls, may they, is there room, how long may it
//! take. What changes something runs in [`write`]: a task of its own, one transaction, one answer
//! for one `request_id`.
//!
//! Invariants: nothing here knows a service, its messages or its tables; the clock of the machine
//! is read in one place; no mutating work is dropped half-way because its caller went away.

mod access;
mod audit;
mod caller;
mod chain;
mod client;
mod clock;
mod config;
mod crash;
mod database;
mod frames;
mod gate;
mod jobs;
mod lanes;
mod news;
mod page;
mod refusal;
mod requests;
mod server;
mod telemetry;
mod tenant;
mod test_clock;
mod trip;
pub mod wire;
mod write;

pub use access::{Access, Who};
pub use audit::{
    Anchors, AuditEntry, Verified, audit_entries, forget_audit_key, hex, verify_audit,
};
pub use caller::{Caller, Claims, Identities, Keys};
pub use chain::Chain;
pub use client::{Peer, is_away, is_refusal, normalised, retried};
pub use clock::Clock;
pub use config::{Command, Config, Options, Peers, Secret};
pub use crash::crash_point;
pub use database::{connect, is_violation_of, migrate, retryable, violated_constraint};
pub use frames::SingleMessage;
pub use gate::{Gate, GateLayer};
pub use jobs::{Pace, keep_house, stop_on_signal};
pub use lanes::Lanes;
pub use news::{Place, follow, news};
pub use page::{Page, PageToken};
pub use refusal::{FieldError, Refusal, field_error, internal};
pub use requests::{Begun, forget_all_answers};
pub use server::{Jobs, Server, run};
pub use telemetry::{Telemetry, init_telemetry};
pub use tenant::{Tenant, enter};
pub use test_clock::NextDue;
pub use trip::Trip;
pub use write::{Call, Owned, Twin, Unit, database_status, detached, saga, write};
