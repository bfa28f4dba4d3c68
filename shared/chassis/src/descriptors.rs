//! Open files: every connection takes one, and the system lets a process have so many.

use std::io;

use rlimit::Resource;

use crate::{Config, http, incoming};

/// What a service opens besides the connections to its ports and to its database: files, connections to other services
/// and to providers, and what the runtime needs.
const OTHERS: u64 = 256;

/// The most files that a service with this configuration has open at once.
fn needed(config: &Config) -> u64 {
    let beside = [config.metrics_listen, config.webhook_listen];
    let beside = beside.iter().flatten().count() * http::OPEN_MAX;
    let connections = u64::try_from(incoming::OPEN_MAX + beside).unwrap_or(u64::MAX);
    connections
        .saturating_add(u64::from(config.database_connections))
        .saturating_add(OTHERS)
}

/// Why a service with this configuration can't have all connections that it may have; `None` if it can.
pub fn fault(config: &Config) -> Option<String> {
    let needed = needed(config);
    match Resource::NOFILE.get() {
        Ok((_, hard)) if hard < needed => Some(format!(
            "open files: {needed} are needed for all connections, and the hard limit is {hard}; raise it"
        )),
        Ok(_) => None,
        Err(error) => Some(format!("open files: {error}")),
    }
}

/// Raises the soft limit of open files to what a service with this configuration needs.
pub fn raise(config: &Config) -> io::Result<()> {
    let (needed, (soft, hard)) = (needed(config), Resource::NOFILE.get()?);
    if needed <= soft {
        return Ok(());
    }
    Resource::NOFILE.set(needed.min(hard), hard)
}
