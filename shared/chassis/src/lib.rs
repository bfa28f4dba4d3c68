//! What every service stands on: configuration, clock, callers, admission, errors to the wire,
//! units of work, jobs and their queues of work, telemetry.
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
mod channel;
mod check;
mod client;
mod clock;
mod config;
mod crash;
mod database;
mod descriptors;
mod ending;
mod failure;
mod frames;
mod gate;
mod health;
mod http;
mod incoming;
mod jobs;
mod news;
mod page;
mod personal;
mod reconciling;
mod reflection;
mod refusal;
mod renewal;
mod requests;
mod room;
mod server;
mod standing;
mod stored;
mod subject;
mod telemetry;
mod tenant;
mod test_clock;
mod texts;
mod tls;
mod trace;
mod trip;
mod version;
pub mod wire;
mod work;
mod write;

pub use access::{Access, Who};
pub use audit::{Anchors, AuditEntry, Verified, audit_entries, hex, verify_audit};
pub use caller::{
    Audience, BadKeys, BadTrustDomain, Caller, Claims, Identities, Keys, OperatorRole, ServiceName,
    TrustDomain, UnknownName,
};
pub use chain::Chain;
pub use channel::secured;
pub use client::{Peer, is_away, is_refusal, normalised, retried};
pub use clock::Clock;
pub use config::{Command, Config, Options, Peers, Secret};
pub use crash::crash_point;
pub use database::{
    Database, PgConnection, Transaction, connect, is_violation_of, migrate, retryable,
    violated_constraint,
};
pub use failure::is_permanent;
pub use gate::{Gate, GateLayer};
pub use http::serve_http;
pub use jobs::{Pace, keep_house, stop_on_signal};
pub use news::{Place, first_of, follow, news};
pub use page::{Page, PageToken, Pages, listed};
pub use personal::{COMMON, Fate, Of, Personal, erase_places, erasures};
pub use reconciling::reconciles_only;
pub use refusal::{FieldError, Refusal, field_error, internal};
pub use requests::{Begun, Done, forget_all_answers, forget_answers_about};
pub use server::{Jobs, Server, run};
pub use standing::{NotOpen, Standing, StandsIn, ToldStanding, end_account, hold_account};
pub use stored::{UnknownText, stored};
pub use subject::asked;
pub use telemetry::{Telemetry, init_telemetry};
pub use tenant::{Tenant, enter};
pub use test_clock::NextDue;
pub use tls::{PeerTls, TlsFiles};
pub use trace::traced;
pub use trip::Trip;
pub use version::{COMMIT, VERSION, VERSION_AND_COMMIT};
pub use work::{Aside, Queue, parked_work, retry_parked_work};
pub use write::{Call, Owned, Twin, Unit, database_status, detached, saga, write};
