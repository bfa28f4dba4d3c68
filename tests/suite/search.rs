//! How operators find what they look for: users, accounts, invoices, orders and closings.

use perdiem::connect::{Clients, request_id};
use proto::account::v1 as account;
use proto::account::v1::closing::State as ClosingState;
use proto::account::v1::order::State;
use proto::billing::v1 as billing;
use tonic::Code;

use crate::closing::close;
use crate::harness::Harness;
use crate::subscriptions::refused;

/// A new account with a name, of the present owner.
async fn named(h: &Harness, name: &str) -> String {
    let request = account::CreateAccountRequest {
        profile_code: "global".to_owned(),
        display_name: name.to_owned(),
        owner_user_id: h.owner.clone(),
        r#type: account::account::Type::Full.into(),
        request_id: request_id(),
        ..account::CreateAccountRequest::default()
    };
    let made = h.operator.account.clone().create_account(request).await;
    made.unwrap().into_inner().account.unwrap().account_id
}

/// The names of the accounts that a request lists, page by page.
async fn names(who: &Clients, request: account::ListAccountsRequest) -> Vec<String> {
    let mut request = account::ListAccountsRequest {
        page_size: 2,
        ..request
    };
    let mut found = Vec::new();
    loop {
        let page = who.account.clone().list_accounts(request.clone()).await;
        let page = page.unwrap().into_inner();
        found.extend(page.accounts.into_iter().map(|it| it.display_name));
        if page.next_page_token.is_empty() {
            return found;
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test]
async fn a_user_is_found_by_address_and_an_account_by_name_or_owner() {
    let mut h = Harness::start().await;
    for name in ["Acme Travel", "acme", "Acme Shoes", "Ac%e", "Bcme"] {
        named(&h, name).await;
    }
    let first = h.owner.clone();
    h.own("Second.Owner").await;
    named(&h, "ACME of another").await;

    let support = h.operator_with("SUPPORT_AGENT");
    let users = async |email: &str| {
        let request = account::ListUsersRequest {
            email: email.to_owned(),
            ..account::ListUsersRequest::default()
        };
        let found = support.account.clone().list_users(request).await;
        let found = found.unwrap().into_inner();
        assert_eq!(found.next_page_token, "");
        found
            .users
            .into_iter()
            .map(|it| it.user_id)
            .collect::<Vec<_>>()
    };
    assert_eq!(users("second.owner@EXAMPLE.com").await, [h.owner.clone()]);
    assert!(users("second.owner@example.co").await.is_empty());
    assert_eq!(users("").await.len(), 2);

    let by_name = |name: &str| account::ListAccountsRequest {
        display_name: name.to_owned(),
        ..account::ListAccountsRequest::default()
    };
    assert_eq!(
        names(&support, by_name("ACME")).await,
        ["acme", "ACME of another", "Acme Shoes", "Acme Travel"]
    );
    assert_eq!(names(&support, by_name("ac%")).await, ["Ac%e"]);
    assert!(names(&support, by_name("cme")).await.is_empty());
    let by_owner = |owner: &str| account::ListAccountsRequest {
        owner_user_id: owner.to_owned(),
        ..account::ListAccountsRequest::default()
    };
    // They are of one instant.
    let mut of_first = names(&support, by_owner(&first)).await;
    of_first.sort();
    let all = ["Ac%e", "Acme Shoes", "Acme Travel", "Bcme", "acme"];
    assert_eq!(of_first, all);
    let both = account::ListAccountsRequest {
        owner_user_id: h.owner.clone(),
        ..by_name("acme")
    };
    assert_eq!(names(&support, both).await, ["ACME of another"]);
    // A person finds their own accounts only.
    let person = h.person(&first);
    assert_eq!(
        names(&person, by_name("acme")).await,
        ["acme", "Acme Shoes", "Acme Travel"]
    );
    assert!(names(&person, by_owner(&h.owner)).await.is_empty());
}

#[tokio::test]
async fn an_invoice_is_found_by_its_number() {
    let h = Harness::start().await;
    let (one, other) = (h.account().await, h.account().await);
    for id in [&one, &other] {
        h.change("2026-03-02T00:00:00Z", id, "business").await;
    }
    h.advance("2026-04-02T06:00:00Z").await;
    h.bill("2026-03").await;
    let billed = h.invoices(&one).await.remove(0);
    let clerk = h.operator_with("BILLING");
    let found = async |request: billing::ListInvoicesRequest| {
        let listed = clerk.billing.clone().list_invoices(request).await;
        let listed = listed.unwrap().into_inner();
        assert_eq!(listed.next_page_token, "");
        let ids = listed.invoices.into_iter().map(|it| it.invoice_id);
        ids.collect::<Vec<_>>()
    };
    let by_number = |number: &str| billing::ListInvoicesRequest {
        number: number.to_owned(),
        ..billing::ListInvoicesRequest::default()
    };
    let only = [billed.invoice_id.clone()];
    assert_eq!(found(by_number(&billed.number)).await, only);
    let of_its_own = billing::ListInvoicesRequest {
        account_id: one.clone(),
        ..by_number(&billed.number)
    };
    assert_eq!(found(of_its_own).await, only);
    let of_another = billing::ListInvoicesRequest {
        account_id: other.clone(),
        ..by_number(&billed.number)
    };
    assert!(found(of_another).await.is_empty());
    for unknown in [
        format!("{}9", billed.number),
        billed.number.to_lowercase(),
        "no digits".to_owned(),
        "99999999999999999999".to_owned(),
    ] {
        assert!(found(by_number(&unknown)).await.is_empty(), "{unknown}");
    }
}

#[tokio::test]
async fn orders_and_closings_are_found_by_state() {
    let h = Harness::start().await;
    let (one, other) = (h.account().await, h.account().await);
    let done = h.change("2026-03-02T00:00:00Z", &one, "business").await;
    let quoted = h.quote(&h.customer(), &other, "business").await.unwrap();
    let listed = async |who: &Clients, account_id: &str, state: State| {
        let request = account::ListOrdersRequest {
            account_id: account_id.to_owned(),
            state: state.into(),
            ..account::ListOrdersRequest::default()
        };
        let found = who.account.clone().list_orders(request).await?;
        let orders = found.into_inner().orders.into_iter();
        Ok::<_, tonic::Status>(orders.map(|it| it.order_id).collect::<Vec<_>>())
    };
    let (done, quoted) = (done.order_id, quoted.order_id);
    let support = h.operator_with("SUPPORT_AGENT");
    let all = [quoted.clone(), done.clone()];
    for (account, state, expected) in [
        ("", State::Unspecified, &all[..]),
        ("", State::Completed, &all[1..]),
        ("", State::Quoted, &all[..1]),
        ("", State::Confirmed, &all[..0]),
        ("", State::Expired, &all[..0]),
        (one.as_str(), State::Completed, &all[1..]),
        (one.as_str(), State::Quoted, &all[..0]),
        (other.as_str(), State::Unspecified, &all[..1]),
    ] {
        let found = listed(&support, account, state).await.unwrap();
        assert_eq!(found, expected, "{account} {state:?}");
    }
    // A person names the account.
    let nobody = listed(&h.customer(), "", State::Unspecified).await;
    assert_eq!(
        refused(nobody),
        (Code::InvalidArgument, "INVALID_FIELD".to_owned())
    );
    let own = listed(&h.customer(), &other, State::Quoted).await;
    assert_eq!(own.unwrap(), all[..1]);
    // A quote that holds no more is found as what it is shown as.
    h.advance("2026-03-03T00:00:00Z").await;
    for (state, expected) in [(State::Quoted, &all[..0]), (State::Expired, &all[..1])] {
        assert_eq!(listed(&support, "", state).await.unwrap(), expected);
        let own = listed(&h.customer(), &other, state).await;
        assert_eq!(own.unwrap(), expected);
    }

    let closings = async |state: ClosingState| {
        let request = account::ListClosingsRequest {
            state: state.into(),
            ..account::ListClosingsRequest::default()
        };
        let found = support.account.clone().list_closings(request).await;
        let found = found.unwrap().into_inner().closings.into_iter();
        found
            .map(|it| (it.account_id.clone(), it.state()))
            .collect::<Vec<_>>()
    };
    assert!(closings(ClosingState::Unspecified).await.is_empty());
    close(&h.customer(), &one).await.unwrap();
    h.advance("2026-03-04T00:00:00Z").await;
    close(&h.customer(), &other).await.unwrap();
    let newest = [(other, ClosingState::Done), (one, ClosingState::Done)];
    assert_eq!(closings(ClosingState::Unspecified).await, newest);
    assert_eq!(closings(ClosingState::Done).await, newest);
    // One that waits, because the service that settles is away.
    let waits = "UPDATE account.closings SET state = 'CLOSED', wait_reason = 'STILL_PARKED',
                 look_at = clock_timestamp() + interval '1 hour'
                 WHERE close_at = (SELECT max(close_at) FROM account.closings)";
    sqlx::query(waits).execute(&h.db).await.unwrap();
    let waiting = [(newest[0].0.clone(), ClosingState::Settling)];
    assert_eq!(closings(ClosingState::Settling).await, waiting);
    assert_eq!(closings(ClosingState::Done).await, newest[1..]);
}
