//! `perdiem reconcile`

use chrono::{DateTime, TimeDelta, Utc};
use proto::billing::v1 as billing;
use proto::payments::v1 as payments;
use proto::payments::v1::MovementState;
use proto::payments::v1::reconcile_response::Difference;
use proto::payments::v1::reconcile_response::difference::Kind;
use proto::r#type::v1::Money;
use serde_json::json;

use crate::Failure;
use crate::connect::{Clients, refused, request_id, timestamp};
use crate::show::{self, Output};

/// The longest time range that can be compared.
pub const LONGEST: TimeDelta = TimeDelta::days(31);

/// What is compared.
#[derive(Debug, Clone)]
pub struct Scope {
    /// The root account; empty for all.
    pub account_id: String,
    /// The payment provider; empty for the configured default.
    pub provider_code: String,
    /// From when on charges and refunds are compared.
    pub from: DateTime<Utc>,
    /// Until when.
    pub to: DateTime<Utc>,
}

/// What the comparisons found.
#[derive(Debug, Clone)]
pub struct Compared {
    /// Of the ledger with balances, invoices and charges.
    pub ledger: billing::ReconcileResponse,
    /// Of charges and refunds with the provider's records.
    pub provider: payments::ReconcileResponse,
}

/// Has `billing` and `payments` compare their books; changes nothing.
pub async fn compare(clients: &Clients, scope: &Scope) -> Result<Compared, Failure> {
    let (start_time, end_time) = (Some(timestamp(scope.from)), Some(timestamp(scope.to)));
    let request = billing::ReconcileRequest {
        account_id: scope.account_id.clone(),
        start_time,
        end_time,
    };
    let mut client = clients.billing.clone();
    let ledger = client.reconcile(request).await.map_err(refused)?;
    let request = payments::ReconcileRequest {
        account_id: scope.account_id.clone(),
        provider_code: scope.provider_code.clone(),
        start_time,
        end_time,
        apply: false,
        request_id: request_id(),
    };
    let mut client = clients.payments.clone();
    let provider = client.reconcile(request).await.map_err(refused)?;
    Ok(Compared {
        ledger: ledger.into_inner(),
        provider: provider.into_inner(),
    })
}

/// Prints what was found.
pub fn print(found: &Compared, output: Output) -> Result<(), Failure> {
    if output == Output::Text {
        show::lines(&text(found));
        return Ok(());
    }
    let both = json!({
        "billing": show::json_value("perdiem.billing.v1.ReconcileResponse", &found.ledger)?,
        "payments": show::json_value("perdiem.payments.v1.ReconcileResponse", &found.provider)?,
    });
    show::line(serde_json::to_string_pretty(&both)?);
    Ok(())
}

fn text(found: &Compared) -> Vec<String> {
    let (ledger, provider) = (&found.ledger, &found.provider);
    let mut texts = vec![format!(
        "billing: {} accounts compared, {} differences",
        ledger.account_count,
        ledger.differences.len()
    )];
    let sentences = ledger.differences.iter();
    texts.extend(sentences.flat_map(|it| show::labelled("  - ", it)));
    texts.push(format!(
        "payments: {} movements compared, {} differences",
        provider.movement_count, provider.difference_count
    ));
    let sentences = provider.differences.iter().map(sentence);
    texts.extend(sentences.flat_map(|it| show::labelled("  - ", &it)));
    texts
}

/// A difference in a sentence.
fn sentence(it: &Difference) -> String {
    let what = match it.kind() {
        Kind::MissingHere => "missing here",
        Kind::MissingThere => "missing at the provider",
        Kind::State => "another state",
        Kind::Amount => "another amount",
        Kind::Unspecified => "different",
    };
    let id = if it.movement_id.is_empty() {
        &it.provider_movement_id
    } else {
        &it.movement_id
    };
    let side = |state: MovementState, amount: Option<Money>| {
        let Some(amount) = amount else {
            return "nothing".to_owned();
        };
        let state = state.as_str_name().trim_start_matches("MOVEMENT_STATE_");
        format!("{state} {} {}", amount.amount, amount.currency_code)
    };
    format!(
        "{id}: {what}; here {}, at {} {}",
        side(it.state(), it.amount.clone()),
        it.provider_code,
        side(it.provider_state(), it.provider_amount.clone())
    )
}

/// An error where something differs.
pub fn verdict(found: &Compared) -> Result<(), Failure> {
    let (ledger, provider) = (
        found.ledger.differences.len(),
        found.provider.difference_count,
    );
    if ledger == 0 && provider == 0 {
        Ok(())
    } else {
        Err(format!("{ledger} differences in billing, {provider} in payments").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_told_in_lines_that_fit_and_are_a_failure() {
        let nothing = Compared {
            ledger: billing::ReconcileResponse::default(),
            provider: payments::ReconcileResponse::default(),
        };
        assert!(verdict(&nothing).is_ok());
        let charge = format!("CH{}", "0".repeat(32));
        let money = Money {
            currency_code: "USD".to_owned(),
            amount: "123456789.00".to_owned(),
        };
        let difference = Difference {
            kind: Kind::State.into(),
            movement_id: charge.clone(),
            provider_code: "sandbox".to_owned(),
            state: MovementState::Succeeded.into(),
            amount: Some(money),
            ..Difference::default()
        };
        let told =
            format!("{charge}: another state; here SUCCEEDED 123456789.00 USD, at sandbox nothing");
        assert_eq!(sentence(&difference), told);
        let found = Compared {
            ledger: billing::ReconcileResponse {
                differences: vec!["the balance of an account is not its entries' sum ".repeat(3)],
                account_count: 1,
            },
            provider: payments::ReconcileResponse {
                differences: vec![difference],
                difference_count: 1,
                movement_count: 2,
            },
        };
        let texts = text(&found);
        assert!(
            texts.iter().all(|it| it.chars().count() <= show::WIDTH),
            "{texts:#?}"
        );
        assert!(texts.iter().any(|it| it.contains(&charge)));
        let told = verdict(&found).unwrap_err().to_string();
        assert_eq!(told, "1 differences in billing, 1 in payments");
    }
}
