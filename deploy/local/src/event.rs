//! `perdiem event list|retry`

use proto::billing::v1 as pb;

use crate::Failure;
use crate::connect::{Clients, refused, request_id};
use crate::show::{self, Output};

/// Events of money that could not be posted, newest first; of an account, or of all where it is empty.
pub async fn list(
    clients: &Clients,
    account_id: &str,
    show_posted: bool,
) -> Result<Vec<pb::UnpostedEvent>, Failure> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListUnpostedEventsRequest {
            account_id: account_id.to_owned(),
            show_posted,
            page_size: 500,
            page_token,
        };
        let answer = clients
            .billing
            .clone()
            .list_unposted_events(request)
            .await
            .map_err(refused)?
            .into_inner();
        found.extend(answer.unposted_events);
        if answer.next_page_token.is_empty() {
            return Ok(found);
        }
        page_token = answer.next_page_token;
    }
}

/// Tries an event again; gives it as it stands then.
pub async fn retry(
    clients: &Clients,
    account_id: &str,
    subject_id: &str,
) -> Result<pb::UnpostedEvent, Failure> {
    let request = pb::RetryUnpostedEventRequest {
        account_id: account_id.to_owned(),
        subject_id: subject_id.to_owned(),
        request_id: request_id(),
    };
    let answer = clients
        .billing
        .clone()
        .retry_unposted_event(request)
        .await
        .map_err(refused)?;
    answer
        .into_inner()
        .unposted_event
        .ok_or_else(|| "billing gave no event".into())
}

/// Prints events.
pub fn print(events: &[pb::UnpostedEvent], output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        return show::json_list("perdiem.billing.v1.UnpostedEvent", events);
    }
    let rows: Vec<Vec<String>> = events
        .iter()
        .map(|it| {
            let state = if it.post_time.is_some() {
                "posted"
            } else {
                "waits"
            };
            vec![
                it.account_id.clone(),
                it.subject_id.clone(),
                state.to_owned(),
                it.attempt_count.to_string(),
                it.reason.clone(),
            ]
        })
        .collect();
    show::table(&["account", "event of", "state", "tries", "reason"], &rows);
    Ok(())
}
