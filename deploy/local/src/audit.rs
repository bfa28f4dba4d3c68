//! `perdiem audit verify`

use proto::account::v1 as account;
use proto::billing::v1 as billing;
use proto::payments::v1 as payments;
use proto::plan::v1 as plan;
use serde::Serialize;

use crate::Failure;
use crate::connect::{Clients, refused};
use crate::show::{self, Output};

/// What a service says of the audit trail that it keeps for an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trail {
    /// The service.
    pub service: &'static str,
    /// Whether every entry is there and matches its hash.
    pub valid: bool,
    /// The first entry that does not; 0 where all do.
    pub broken_sequence: i64,
    /// How many entries there are.
    pub entry_count: i64,
}

/// Has each service verify the trail of a root account.
pub async fn verify(clients: &Clients, account_id: &str) -> Result<Vec<Trail>, Failure> {
    // Each service has a message of its own for the same.
    macro_rules! trail {
        ($service:literal, $client:ident, $module:ident) => {{
            let request = $module::VerifyAuditRequest {
                account_id: account_id.to_owned(),
            };
            let mut client = clients.$client.clone();
            let answer = client.verify_audit(request).await.map_err(refused)?;
            let found = answer.into_inner();
            Trail {
                service: $service,
                valid: found.valid,
                broken_sequence: found.broken_sequence,
                entry_count: found.entry_count,
            }
        }};
    }
    Ok(vec![
        trail!("plan", plan, plan),
        trail!("payments", payments, payments),
        trail!("billing", billing, billing),
        trail!("account-lifecycle", account, account),
    ])
}

/// Prints what was found.
pub fn print(trails: &[Trail], output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        show::line(serde_json::to_string_pretty(trails)?);
    } else {
        show::lines(&text(trails));
    }
    Ok(())
}

fn text(trails: &[Trail]) -> Vec<String> {
    let row = |it: &Trail| {
        let state = if it.valid {
            "whole".to_owned()
        } else {
            format!("broken at {}", it.broken_sequence)
        };
        vec![it.service.to_owned(), it.entry_count.to_string(), state]
    };
    let rows: Vec<Vec<String>> = trails.iter().map(row).collect();
    show::tabled(&["service", "entries", "trail"], &rows)
}

/// An error where a trail is broken.
pub fn verdict(trails: &[Trail]) -> Result<(), Failure> {
    let broken: Vec<&str> = trails
        .iter()
        .filter(|it| !it.valid)
        .map(|it| it.service)
        .collect();
    if broken.is_empty() {
        Ok(())
    } else {
        Err(format!("the audit trail is broken in {}", broken.join(", ")).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_trail_is_told_with_its_place_and_is_a_failure() {
        let whole = Trail {
            service: "plan",
            valid: true,
            broken_sequence: 0,
            entry_count: 12,
        };
        let broken = Trail {
            service: "billing",
            valid: false,
            broken_sequence: 7,
            ..whole.clone()
        };
        assert!(verdict(std::slice::from_ref(&whole)).is_ok());
        let trails = [whole, broken];
        let texts = text(&trails);
        assert!(texts.iter().any(|it| it.ends_with("broken at 7")));
        assert!(texts.iter().all(|it| it.chars().count() <= show::WIDTH));
        let told = verdict(&trails).unwrap_err().to_string();
        assert_eq!(told, "the audit trail is broken in billing");
    }
}
