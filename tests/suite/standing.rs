//! In which standings of an account a method is open: a matrix says what the requirements say, method by standing, and
//! the services keep it (D37). A closed account is closed everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chassis::{Access, Standing};
use perdiem::connect::{Clients, request_id};
use prost::Message as _;
use prost_reflect::DescriptorPool;
use proto::account::v1 as account;
use proto::account::v1::create_order_request::Kind;
use proto::billing::v1 as billing;
use proto::payments::v1 as payments;
use proto::plan::v1 as plan;
use proto::r#type::v1::Money;
use sqlx::AssertSqlSafe;
use tests::hostile::filled;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::access::TABLES;
use crate::closing::close;
use crate::harness::{BY_HAND, Harness, reason};
use crate::hostile::{Raw, token_for};
use crate::money::Shop;
use crate::subscriptions::{DOCUMENTS, quote, refused, review, submit, subscriber};

/// A row a method that changes something: what it answers in each standing, and which requirement, conflict or decision
/// says so.
const MATRIX: &str = include_str!("../data/standing.csv");

/// The columns, with the standing that each is of.
const COLUMNS: [(&str, Option<Standing>); 11] = [
    ("trial", Some(Standing::Trial)),
    ("active", None),
    ("dormant", Some(Standing::Dormant)),
    ("limited", Some(Standing::Limited)),
    ("balance", Some(Standing::Balance)),
    ("parent", Some(Standing::Parent)),
    ("terms", Some(Standing::Terms)),
    ("fraud", Some(Standing::Fraud)),
    ("closing", Some(Standing::Closing)),
    ("closed", Some(Standing::Closed)),
    ("erased", Some(Standing::Erased)),
];

/// What would let an account stand otherwise for the calls that follow.
const MOVES: [&str; 12] = [
    "CloseAccount",
    "ReturnToService",
    "SuspendAccount",
    "ReinstateAccount",
    "SetStanding",
    "PrepareClosing",
    "RecordClosing",
    "SettleClosing",
    "AbortClosing",
    "EraseAccount",
    "DeleteUser",
    "GoLive",
];

/// What the handler decides, though its table lets it in: after a closing only what came in later is given back.
fn by_handler(path: &str, column: &str) -> bool {
    path.ends_with("/RequestRefund") && matches!(column, "closed" | "erased")
}

/// Methods whose reason must fit the account before it is asked how that stands: a root has no parent.
fn reads_first(path: &str) -> bool {
    let bars = ["/SuspendAccount", "/ReinstateAccount"];
    bars.iter().any(|it| path.ends_with(it))
}

/// Reasons by column, by the method's path.
fn matrix() -> BTreeMap<&'static str, BTreeMap<&'static str, &'static str>> {
    let mut lines = MATRIX.lines();
    let head: Vec<&str> = lines.next().unwrap().split(',').collect();
    let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    assert_eq!(head[1..12], names[..]);
    let mut matrix = BTreeMap::new();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells.len(), 13, "{line}");
        let (numbers, why) = cells[12].split_once(": ").unwrap();
        assert!(!why.is_empty(), "{line}");
        let is_number = |it: &str| ["REQ-", "C-", "D"].iter().any(|kind| it.starts_with(kind));
        assert!(numbers.split(' ').all(is_number), "{line}");
        let row = names.iter().copied().zip(cells[1..12].iter().copied());
        assert!(matrix.insert(cells[0], row.collect()).is_none(), "{line}");
    }
    matrix
}

/// The methods that change something of one account, or are told once each: those with a `request_id`, and usage.
fn mutations() -> Vec<(&'static str, String, &'static Access)> {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
    let mut all = Vec::new();
    for (service, name, table) in TABLES {
        for method in pool.get_service_by_name(name).unwrap().methods() {
            let told = method.input().get_field_by_name("request_id").is_some();
            if told || matches!(method.name(), "RecordUsage" | "StreamUsage") {
                let row = table.iter().find(|row| row.method == method.name());
                all.push((service, format!("{name}/{}", method.name()), row.unwrap()));
            }
        }
    }
    all
}

#[test]
fn d37_each_method_is_shut_where_the_matrix_says_and_nowhere_else() {
    let matrix = matrix();
    let methods = mutations();
    let known: BTreeSet<&str> = methods.iter().map(|(_, path, _)| path.as_str()).collect();
    let rows: BTreeSet<&str> = matrix.keys().copied().collect();
    assert_eq!(known, rows, "a row for each method that changes something");
    for (_, path, row) in &methods {
        for (column, standing) in COLUMNS {
            let shut = standing.filter(|it| row.shut.contains(it));
            let declared = shut.map_or("open", Standing::reason);
            let cell = matrix[path.as_str()][column];
            if by_handler(path, column) {
                assert_eq!((declared, cell), ("open", "ACCOUNT_CLOSED"), "{path}");
            } else {
                assert_eq!(declared, cell, "{path} in {column}");
            }
        }
    }
}

/// Changes what the owner keeps of an account; what follows from that is told by the service itself.
async fn owned(h: &Harness, id: &str, set: &str) {
    let uuid = id.trim_start_matches("AC");
    let sql = format!("UPDATE account.accounts SET {set} WHERE account_id = '{uuid}'");
    sqlx::query(AssertSqlSafe(sql))
        .execute(&h.db)
        .await
        .unwrap();
}

/// Waits until every service knows how every account stands.
async fn told(h: &Harness) {
    let untold = "SELECT count(*) FROM account.roots WHERE told_revision < standing_revision";
    while 0 < h.count(untold).await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A trial of `global`.
async fn trial(h: &Harness) -> String {
    let request = account::CreateAccountRequest {
        profile_code: "global".to_owned(),
        display_name: "A trial".to_owned(),
        owner_user_id: h.owner.clone(),
        request_id: request_id(),
        ..account::CreateAccountRequest::default()
    };
    let made = h.customer().account.create_account(request).await;
    made.unwrap().into_inner().account.unwrap().account_id
}

/// An account for each column.
async fn accounts(h: &Harness) -> BTreeMap<&'static str, String> {
    let mut all = BTreeMap::new();
    let erased = h.account().await;
    close(&h.operator, &erased).await.unwrap();
    all.insert("erased", erased);
    h.advance("2026-04-02T12:00:00Z").await;
    all.insert("trial", trial(h).await);
    for column in [
        "active", "dormant", "limited", "balance", "parent", "terms", "fraud", "closing", "closed",
    ] {
        all.insert(column, h.account().await);
    }
    for column in ["balance", "parent", "terms", "fraud"] {
        let set = format!("suspensions = '{{{}}}'", column.to_uppercase());
        owned(h, &all[column], &set).await;
    }
    owned(h, &all["dormant"], "dormant_at = '2026-04-02T12:00:00Z'").await;
    owned(
        h,
        &all["limited"],
        "limited_at = '2026-04-02T11:00:00Z', limit_reason = 'CANCELLED'",
    )
    .await;
    close(&h.operator, &all["closed"]).await.unwrap();
    // A closing that nobody carries on with.
    let uuid = all["closing"].trim_start_matches("AC");
    let sql = format!(
        "INSERT INTO account.closings (root_id, account_id, state, option, close_at, purge_at, actor, currency, lease_token,
                                       look_at)
         VALUES ('{uuid}', '{uuid}', 'DONE', 'CLOSE', '2026-04-02T12:00:00Z', '2030-01-01T00:00:00Z', 'test', 'USD',
                 gen_random_uuid(), 'infinity')"
    );
    sqlx::query(AssertSqlSafe(sql))
        .execute(&h.db)
        .await
        .unwrap();
    told(h).await;
    all
}

/// The standing that a refusal names; empty where it is of something else.
fn refused_for(status: &Status) -> String {
    let info = status.get_details_error_info();
    let named = info.and_then(|info| info.metadata.get("standing").cloned());
    named.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn d37_every_service_keeps_the_matrix() {
    let h = Harness::start().await;
    let accounts = accounts(&h).await;
    let matrix = matrix();
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
    let user = h.user("somebody").await;
    let (mut cells, mut faults) = (0_u32, Vec::new());
    for (service, path, row) in mutations() {
        let (name, method) = path.split_once('/').unwrap();
        let methods: Vec<_> = pool.get_service_by_name(name).unwrap().methods().collect();
        let input = methods
            .iter()
            .find(|it| it.name() == method)
            .unwrap()
            .input();
        let names = ["account_id", "parent_account_id", "payer_account_id"];
        let of_account = names.iter().any(|it| input.get_field_by_name(it).is_some());
        // What names a thing of the account is in the stories below.
        if !of_account {
            continue;
        }
        let raw = Raw::connect(h.urls.of(service)).await;
        let token = token_for(&h, row);
        for (column, _) in COLUMNS {
            let cell = matrix[path.as_str()][column];
            if cell == "open" && MOVES.contains(&method) {
                continue;
            }
            let real = BTreeMap::from([
                ("account_id", accounts[column].clone()),
                ("parent_account_id", accounts[column].clone()),
                ("user_id", user.clone()),
                ("owner_user_id", user.clone()),
            ]);
            let message = filled(&input, &real).encode_to_vec();
            let answer = raw.call(&format!("/{path}"), Some(&token), message).await;
            let told = answer.as_ref().err().map(reason).unwrap_or_default();
            let named = answer.as_ref().err().map(refused_for).unwrap_or_default();
            cells += 1;
            let right = if cell == "open" {
                named.is_empty() && told != "ACCOUNT_CLOSED"
            } else if by_handler(&path, column) || reads_first(&path) {
                // Its message does not read before that is asked.
                named.is_empty()
            } else {
                told == cell
            };
            if !right {
                faults.push(format!("{path} in {column}: {told}, not {cell}"));
            }
        }
    }
    assert!(faults.is_empty(), "{cells} cells\n{}", faults.join("\n"));
    assert!(500 < cells, "{cells}");
}

/// Clients of one service.
fn service(h: &Harness, name: &str) -> Clients {
    Clients::new(&h.urls, &h.suite.keys.service(name).unwrap()).unwrap()
}

#[tokio::test]
async fn req_042_what_a_closed_account_still_has_is_changed_by_nobody() {
    use account::review_kyc_request::Action;
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = h.account_of("india", false).await;
    let kyc = submit(h, &id, &DOCUMENTS).await.unwrap();
    shop.card(&id, "tok_ok").await;
    close(&h.operator, &id).await.unwrap();
    let closed = (Code::FailedPrecondition, "ACCOUNT_CLOSED".to_owned());

    assert_eq!(refused(review(h, &kyc, Action::TakeUp).await), closed);
    let mut lifecycle = service(h, "account-lifecycle");
    let facts = payments::UpdateAccountFactsRequest {
        account_id: id.clone(),
        country_code: "IN".to_owned(),
        request_id: request_id(),
    };
    let answer = lifecycle.payments.update_account_facts(facts).await;
    assert_eq!(refused(answer), closed);
    let facts = billing::UpdateAccountFactsRequest {
        account_id: id.clone(),
        recipient: "Somebody".to_owned(),
        request_id: request_id(),
        ..billing::UpdateAccountFactsRequest::default()
    };
    let answer = lifecycle.billing.update_account_facts(facts).await;
    assert_eq!(refused(answer), closed);
    let stamp = plan::StampTicketRequest {
        channel_code: "EMAIL".to_owned(),
        account_id: id.clone(),
        ticket_id: "TK00000000000000000000000000000001".to_owned(),
        priority_code: "P1".to_owned(),
        request_id: request_id(),
    };
    assert_eq!(refused(lifecycle.plan.stamp_ticket(stamp).await), closed);
    let current = plan::GetCurrentPlanRequest {
        account_id: id.clone(),
        family_code: "PLATFORM".to_owned(),
    };
    assert_eq!(
        refused(lifecycle.plan.get_current_plan(current).await),
        closed
    );
    let refund = billing::RequestRefundRequest {
        account_id: id.clone(),
        request_id: request_id(),
        ..billing::RequestRefundRequest::default()
    };
    let answer = lifecycle.billing.request_refund(refund).await;
    assert_eq!(refused(answer), closed);

    let refund = payments::CreateRefundRequest {
        account_id: id.clone(),
        amount: Some(Money {
            currency_code: "INR".to_owned(),
            amount: "1.00".to_owned(),
        }),
        refund_key: "late".to_owned(),
        attempt_number: 1,
        route: payments::refund::Route::ManualBankTransfer.into(),
        request_id: request_id(),
        ..payments::CreateRefundRequest::default()
    };
    let mut books = service(h, "billing").payments;
    let answer = books.create_refund(refund.clone()).await;
    assert_eq!(refused(answer), closed);
    let after = payments::CreateRefundRequest {
        after_closing: true,
        request_id: request_id(),
        ..refund
    };
    books.create_refund(after).await.unwrap();
}

#[tokio::test]
async fn c_11_what_bars_a_subaccount_bars_its_orders_too() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let root = subscriber(&shop, "tok_ok").await;
    let sub = h.subaccount(&root).await;
    let who = h.customer();
    let number = || {
        Kind::NumberPurchase(account::NumberPurchase {
            purpose: account::number_purchase::Purpose::Production.into(),
            number_type_code: "landline".to_owned(),
            country_code: "IN".to_owned(),
            number: String::new(),
        })
    };
    let quoted = quote(&who, &sub, number()).await.unwrap();
    let confirmed = quote(&who, &sub, number()).await.unwrap();
    h.confirm(&who, &confirmed).await.unwrap();
    let suspend = account::SuspendAccountRequest {
        account_id: sub.clone(),
        suspension_reason: account::account::SuspensionReason::Fraud.into(),
        note: "stolen cards".to_owned(),
        request_id: request_id(),
    };
    let mut operator = h.operator.account.clone();
    operator.suspend_account(suspend).await.unwrap();
    let suspended = (Code::FailedPrecondition, "ACCOUNT_SUSPENDED".to_owned());
    for who in [&h.customer(), &h.operator] {
        assert_eq!(refused(h.confirm(who, &quoted).await), suspended);
        assert_eq!(refused(h.commit(who, &confirmed).await), suspended);
    }
    assert_eq!(h.count("SELECT count(*) FROM billing.rentals").await, 0);
    // Its root is not barred by it.
    let of_root = quote(&who, &root, number()).await.unwrap();
    h.confirm(&who, &of_root).await.unwrap();
    h.commit(&who, &of_root).await.unwrap();
}

#[tokio::test]
async fn d5_a_trial_gets_no_paid_support_from_an_operator_and_no_contract() {
    let h = Harness::start().await;
    let (id, full) = (trial(&h).await, h.account().await);
    let first = (Code::FailedPrecondition, "UPGRADE_FIRST".to_owned());
    assert_eq!(refused(h.quote(&h.operator, &id, "business").await), first);
    let contract = |payer: &str, member: &str| plan::CreateContractRequest {
        family_code: "SUPPORT".to_owned(),
        plan_code: "business".to_owned(),
        payer_account_id: payer.to_owned(),
        member_account_ids: vec![member.to_owned()],
        request_id: request_id(),
    };
    let mut sales = h.operator_with("SALES").plan;
    for (payer, member) in [(&id, &full), (&full, &id)] {
        let answer = sales.create_contract(contract(payer, member)).await;
        assert_eq!(refused(answer), first);
    }
    let preview = plan::PreviewChangeRequest {
        account_id: id.clone(),
        family_code: "SUPPORT".to_owned(),
        plan_code: "business".to_owned(),
        actor: plan::Actor::Operator.into(),
        ..plan::PreviewChangeRequest::default()
    };
    assert_eq!(refused(sales.preview_change(preview).await), first);
}

#[tokio::test]
async fn c_11_suspended_for_fraud_nobody_buys_business_until_it_is_lifted() {
    let h = Harness::start().await;
    let id = h.account().await;
    let order = h.quote(&h.customer(), &id, "business").await.unwrap();
    let fraud = account::account::SuspensionReason::Fraud;
    let suspend = account::SuspendAccountRequest {
        account_id: id.clone(),
        suspension_reason: fraud.into(),
        note: "stolen cards".to_owned(),
        request_id: request_id(),
    };
    let mut operator = h.operator.account.clone();
    operator.suspend_account(suspend).await.unwrap();
    let suspended = (Code::FailedPrecondition, "ACCOUNT_SUSPENDED".to_owned());
    for who in [&h.customer(), &h.operator] {
        assert_eq!(refused(h.quote(who, &id, "business").await), suspended);
    }
    assert_eq!(refused(h.confirm(&h.customer(), &order).await), suspended);
    // Nor does an operator who asks `plan` for it directly, of whatever role.
    let preview = plan::PreviewChangeRequest {
        account_id: id.clone(),
        family_code: "SUPPORT".to_owned(),
        plan_code: "business".to_owned(),
        actor: plan::Actor::Operator.into(),
        ..plan::PreviewChangeRequest::default()
    };
    let previewed = h.operator.plan.clone().preview_change(preview).await;
    let change = previewed.unwrap().into_inner().change.unwrap();
    let apply = || plan::ApplyChangeRequest {
        account_id: id.clone(),
        family_code: "SUPPORT".to_owned(),
        plan_code: "business".to_owned(),
        actor: plan::Actor::Operator.into(),
        timeline_etag: change.timeline_etag.clone(),
        catalogue_version: change.catalogue_version.clone(),
        request_id: request_id(),
        ..plan::ApplyChangeRequest::default()
    };
    for role in ["SUPPORT_AGENT", "SALES"] {
        let mut plan = h.operator_with(role).plan;
        assert_eq!(refused(plan.apply_change(apply()).await), suspended);
    }
    // What an order has paid for goes forward.
    let paid = plan::ApplyChangeRequest {
        paid: true,
        actor: plan::Actor::Customer.into(),
        order_id: order.order_id.clone(),
        ..apply()
    };
    let mut owner = service(&h, "account-lifecycle").plan;
    owner.apply_change(paid).await.unwrap();
    let lift = account::ReinstateAccountRequest {
        account_id: id.clone(),
        suspension_reason: fraud.into(),
        note: "it was not".to_owned(),
        request_id: request_id(),
    };
    operator.reinstate_account(lift).await.unwrap();
    h.confirm(&h.customer(), &order).await.unwrap();
}

#[tokio::test]
async fn an_imported_id_of_another_root_is_refused_and_leaves_nothing() {
    let h = Harness::start().await;
    let (first, second) = (h.account().await, h.account().await);
    let sub = h.subaccount(&first).await;
    let request = account::CreateSubaccountRequest {
        parent_account_id: second.clone(),
        display_name: "Taken".to_owned(),
        import_account_id: sub,
        request_id: request_id(),
    };
    let before = h.count("SELECT count(*) FROM account.transitions").await;
    let answer = h.operator.account.clone().create_subaccount(request).await;
    assert_eq!(
        refused(answer),
        (Code::AlreadyExists, "ACCOUNT_EXISTS".to_owned())
    );
    let after = h.count("SELECT count(*) FROM account.transitions").await;
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_role_in_a_subaccount_shows_nothing_of_its_roots_kyc_and_audit() {
    let h = Harness::start().await;
    let root = h.account().await;
    let sub = h.subaccount(&root).await;
    let member = h.user("member").await;
    let grant = account::GrantRoleRequest {
        account_id: sub.clone(),
        user_id: member.clone(),
        role_code: "DEVELOPER".to_owned(),
        request_id: request_id(),
    };
    h.customer().account.grant_role(grant).await.unwrap();
    let mut person = h.person(&member).account;
    let kyc = account::GetKycRequest {
        account_id: sub.clone(),
        ..account::GetKycRequest::default()
    };
    let denied = (Code::PermissionDenied, "ROLE_NOT_ALLOWED".to_owned());
    assert_eq!(refused(person.get_kyc(kyc.clone()).await), denied);
    let audit = account::ListAuditEntriesRequest {
        account_id: sub,
        ..account::ListAuditEntriesRequest::default()
    };
    assert_eq!(
        refused(person.list_audit_entries(audit.clone()).await),
        denied
    );
    let mut owner = h.customer().account;
    owner.get_kyc(kyc).await.unwrap();
    owner.list_audit_entries(audit).await.unwrap();
}

#[tokio::test]
async fn req_042_nothing_is_credited_to_an_invoice_of_a_closed_account() {
    let h = Harness::start().await;
    h.import_as("by-hand", &[BY_HAND]).await;
    let id = h.account_of("global", true).await;
    h.change("2026-04-15T10:00:00Z", &id, "business").await;
    h.advance("2026-05-01T00:00:00Z").await;
    h.bill("2026-04").await;
    let invoice = h.invoices(&id).await.remove(0);
    let note = async || {
        let request = billing::CreateCreditNoteRequest {
            invoice_id: invoice.invoice_id.clone(),
            amount: Some(Money {
                currency_code: "USD".to_owned(),
                amount: "10.00".to_owned(),
            }),
            reason: "an hour was down".to_owned(),
            request_id: request_id(),
            ..billing::CreateCreditNoteRequest::default()
        };
        h.operator.billing.clone().create_credit_note(request).await
    };
    note().await.unwrap();
    close(&h.operator, &id).await.unwrap();
    assert_eq!(
        refused(note().await),
        (Code::FailedPrecondition, "ACCOUNT_CLOSED".to_owned())
    );
    let notes = "SELECT count(*) FROM billing.credit_notes";
    assert_eq!(h.count(notes).await, 1);
}
