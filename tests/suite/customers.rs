//! What customers do with their own money, plans and payment methods (D29): by their token alone, each by their role,
//! and nobody else.

use std::collections::BTreeMap;

use perdiem::connect::{Clients, request_id, timestamp};
use prost::Message as _;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use proto::account::v1 as account;
use proto::account::v1::closing::Option as Way;
use proto::account::v1::create_order_request::Kind;
use proto::account::v1::order::State;
use proto::billing::v1 as billing;
use proto::payments::v1 as payments;
use proto::plan::v1 as plan;
use sqlx::AssertSqlSafe;
use tests::hostile::filled;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::closing::{close, closing, dollars};
use crate::harness::{Harness, PATIENCE, instant, reason};
use crate::hostile::Raw;
use crate::money::Shop;
use crate::subscriptions::{approved, bought, quote, refused, rupees, upgrade};

/// The service that they call.
const SERVICE: &str = "perdiem.account.v1.CustomerService";

/// What a role needs for a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    /// Any role.
    Member,
    /// One that may see money.
    SeeMoney,
    /// One that may buy credit.
    BuyCredits,
    /// One that may change the plan.
    ChangePlan,
}

/// The methods that are of an account, with what each needs; the others are in the stories below.
const RIGHTS: [(&str, Right); 23] = [
    ("GetBalance", Right::SeeMoney),
    ("GetStatement", Right::SeeMoney),
    ("ListInvoices", Right::SeeMoney),
    ("GetInvoice", Right::SeeMoney),
    ("RenderInvoice", Right::SeeMoney),
    ("PreviewInvoice", Right::SeeMoney),
    ("ListCreditNotes", Right::SeeMoney),
    ("SummarizeUsage", Right::Member),
    ("ListUsage", Right::Member),
    ("ListPlanHistory", Right::Member),
    ("GetSubscription", Right::SeeMoney),
    ("ListEntitlements", Right::Member),
    ("ListOffers", Right::SeeMoney),
    ("AcceptOffer", Right::ChangePlan),
    ("ListEligibleMethods", Right::SeeMoney),
    ("AddPaymentMethod", Right::BuyCredits),
    ("ListPaymentMethods", Right::SeeMoney),
    ("RemovePaymentMethod", Right::BuyCredits),
    ("SetDefaultPaymentMethod", Right::BuyCredits),
    ("GetAutoRecharge", Right::SeeMoney),
    ("SetAutoRecharge", Right::BuyCredits),
    ("ListRefunds", Right::SeeMoney),
    ("GetRefund", Right::SeeMoney),
];

/// Adds a payment method by a provider's token, as a customer does.
async fn added(who: &Clients, id: &str, token: &str) -> Result<payments::PaymentMethod, Status> {
    let request = account::AddPaymentMethodRequest {
        account_id: id.to_owned(),
        method_code: "CARD".to_owned(),
        provider_token: token.to_owned(),
        request_id: request_id(),
        ..account::AddPaymentMethodRequest::default()
    };
    let answer = who.customers.clone().add_payment_method(request).await?;
    Ok(answer.into_inner().payment_method.unwrap())
}

/// The usable payment methods of an account: each one's id, and whether it is the default.
async fn methods(who: &Clients, id: &str) -> Vec<(String, bool)> {
    let request = account::ListPaymentMethodsRequest {
        account_id: id.to_owned(),
        ..account::ListPaymentMethodsRequest::default()
    };
    let found = who.customers.clone().list_payment_methods(request).await;
    let found = found.unwrap().into_inner().payment_methods.into_iter();
    found
        .map(|it| (it.payment_method_id, it.default_method))
        .collect()
}

async fn balance(who: &Clients, id: &str) -> Result<String, Status> {
    let request = account::GetBalanceRequest {
        account_id: id.to_owned(),
        read_time: None,
    };
    let found = who.customers.clone().get_balance(request).await?;
    Ok(found.into_inner().balance.unwrap().amount)
}

async fn invoices(who: &Clients, id: &str) -> Result<Vec<billing::Invoice>, Status> {
    let request = account::ListInvoicesRequest {
        account_id: id.to_owned(),
        ..account::ListInvoicesRequest::default()
    };
    let found = who.customers.clone().list_invoices(request).await?;
    Ok(found.into_inner().invoices)
}

async fn invoice(who: &Clients, of: (&str, &str)) -> Result<billing::Invoice, Status> {
    let request = account::GetInvoiceRequest {
        account_id: of.0.to_owned(),
        invoice_id: of.1.to_owned(),
    };
    let found = who.customers.clone().get_invoice(request).await?;
    Ok(found.into_inner().invoice.unwrap())
}

async fn refunds(who: &Clients, id: &str) -> Result<Vec<payments::Refund>, Status> {
    let request = account::ListRefundsRequest {
        account_id: id.to_owned(),
        ..account::ListRefundsRequest::default()
    };
    let found = who.customers.clone().list_refunds(request).await?;
    Ok(found.into_inner().refunds)
}

async fn cancelled(who: &Clients, order: &account::Order) -> Result<account::Order, Status> {
    let request = account::CancelOrderRequest {
        order_id: order.order_id.clone(),
        request_id: request_id(),
    };
    let answer = who.customers.clone().cancel_order(request).await?;
    Ok(answer.into_inner().order.unwrap())
}

async fn order(who: &Clients, id: &str) -> account::Order {
    let request = account::GetOrderRequest {
        order_id: id.to_owned(),
    };
    let found = who.account.clone().get_order(request).await.unwrap();
    found.into_inner().order.unwrap()
}

/// Buys credit for dollars by a method, as a customer does.
async fn buys(h: &Harness, who: &Clients, id: &str, amount: &str) -> account::Order {
    let purchase = account::CreditPurchase {
        amount: dollars(amount),
        payment_method_id: String::new(),
    };
    let order = bought(h, who, id, Kind::CreditPurchase(purchase)).await;
    order.unwrap()
}

/// Gives a new user a role, as the owner does; gives their clients.
async fn with_role(h: &Harness, id: &str, role: &str) -> Clients {
    let name = format!("{role}-{}", uuid::Uuid::new_v4().simple()).to_lowercase();
    let user = h.user(&name).await;
    let request = account::GrantRoleRequest {
        account_id: id.to_owned(),
        user_id: user.clone(),
        role_code: role.to_owned(),
        request_id: request_id(),
    };
    h.customer().account.grant_role(request).await.unwrap();
    h.person(&user)
}

#[tokio::test]
async fn d29_a_customer_pays_and_reads_all_of_it_by_their_token_alone() {
    let h = Harness::start().await;
    let who = h.customer();
    let mut customers = who.customers.clone();
    let id = h.account().await;

    // How they may pay, and by what.
    let request = account::ListEligibleMethodsRequest {
        account_id: id.clone(),
        purpose: payments::Purpose::Credits.into(),
        off_session: true,
        ..account::ListEligibleMethodsRequest::default()
    };
    let open = customers.list_eligible_methods(request).await.unwrap();
    let open = open.into_inner().eligible_methods;
    assert!(open.iter().any(|it| it.method_code == "CARD"), "{open:?}");
    let first = added(&who, &id, "tok_ok_1").await.unwrap();
    let second = added(&who, &id, "tok_ok_2").await.unwrap();
    assert!(first.default_method && !second.default_method);
    let request = account::SetDefaultPaymentMethodRequest {
        account_id: id.clone(),
        payment_method_id: second.payment_method_id.clone(),
        request_id: request_id(),
    };
    let set = customers.set_default_payment_method(request).await.unwrap();
    assert!(set.into_inner().payment_method.unwrap().default_method);
    let request = account::RemovePaymentMethodRequest {
        account_id: id.clone(),
        payment_method_id: first.payment_method_id,
        request_id: request_id(),
    };
    let removed = customers.remove_payment_method(request).await.unwrap();
    let removed = removed.into_inner().payment_method.unwrap();
    assert_eq!(removed.state(), payments::payment_method::State::Removed);
    let left = [(second.payment_method_id.clone(), true)];
    assert_eq!(methods(&who, &id).await, left);

    // Credit, its invoice and its papers.
    let order = buys(&h, &who, &id, "100.00").await;
    assert_eq!(order.state(), State::Completed);
    assert_eq!(balance(&who, &id).await.unwrap(), "100.000000");
    let listed = invoices(&who, &id).await.unwrap();
    assert_eq!(listed.len(), 1);
    let paper = invoice(&who, (&id, &order.invoice_id)).await.unwrap();
    assert_eq!(paper.number, listed[0].number);
    assert_eq!(paper.total, dollars("100.00"));
    assert!(!paper.lines[0].explanation.is_empty());
    let request = account::RenderInvoiceRequest {
        account_id: id.clone(),
        invoice_id: order.invoice_id.clone(),
        ..account::RenderInvoiceRequest::default()
    };
    let pdf = customers.render_invoice(request).await.unwrap();
    assert!(pdf.into_inner().pdf.starts_with(b"%PDF"));
    let request = account::ListCreditNotesRequest {
        account_id: id.clone(),
        ..account::ListCreditNotesRequest::default()
    };
    let notes = customers.list_credit_notes(request).await.unwrap();
    assert!(notes.into_inner().credit_notes.is_empty());

    // What is agreed to for later.
    let request = account::SetAutoRechargeRequest {
        account_id: id.clone(),
        auto_recharge: Some(billing::AutoRecharge {
            enabled: true,
            threshold: dollars("20.00"),
            amount: dollars("150.00"),
            ..billing::AutoRecharge::default()
        }),
        request_id: request_id(),
    };
    let set = customers.set_auto_recharge(request).await.unwrap();
    let request = account::GetAutoRechargeRequest {
        account_id: id.clone(),
    };
    let got = customers.get_auto_recharge(request).await.unwrap();
    let got = got.into_inner().auto_recharge.unwrap();
    assert_eq!(Some(&got), set.into_inner().auto_recharge.as_ref());
    assert!(got.enabled);
    assert_eq!(got.threshold, dollars("20.00"));

    // Plans, and what they include.
    let sub = h.subaccount(&id).await;
    h.change("2026-04-15T10:00:00Z", &id, "business").await;
    for of in [&id, &sub] {
        h.used(of, "2026-04-16T10:00:00Z", "20000.00").await;
    }
    let request = account::ListPlanHistoryRequest {
        account_id: id.clone(),
        family_code: "SUPPORT".to_owned(),
    };
    let history = customers.list_plan_history(request).await.unwrap();
    let history = history.into_inner().segments;
    let plans: Vec<&str> = history.iter().map(|it| it.plan_code.as_str()).collect();
    assert_eq!(plans, ["developer", "business"]);
    let request = account::ListEntitlementsRequest {
        account_id: id.clone(),
    };
    customers.list_entitlements(request).await.unwrap();

    // Usage, and what the month comes to by it.
    let request = |account_id: &str| account::ListUsageRequest {
        account_id: account_id.to_owned(),
        month: "2026-04".to_owned(),
        page_size: 1,
        ..account::ListUsageRequest::default()
    };
    let page = customers.list_usage(request(&id)).await.unwrap();
    let page = page.into_inner();
    assert_eq!(page.records.len(), 1);
    let next = account::ListUsageRequest {
        page_token: page.next_page_token,
        ..request(&id)
    };
    let page = customers.list_usage(next).await.unwrap().into_inner();
    assert_eq!((page.records.len(), page.next_page_token.as_str()), (1, ""));
    let of_sub = customers.list_usage(request(&sub)).await.unwrap();
    let of_sub = of_sub.into_inner().records.remove(0).event.unwrap();
    assert_eq!(of_sub.account_id, sub);
    let request = account::SummarizeUsageRequest {
        account_id: id.clone(),
        month: "2026-04".to_owned(),
        daily: true,
    };
    let sums = customers.summarize_usage(request).await.unwrap();
    let sums = sums.into_inner().sums;
    assert_eq!(sums[0].price.as_ref().unwrap().amount, "40000.000000");
    let request = account::PreviewInvoiceRequest {
        account_id: id.clone(),
        family_code: "SUPPORT".to_owned(),
        month: "2026-04".to_owned(),
    };
    let preview = customers.preview_invoice(request).await.unwrap();
    let preview = preview.into_inner().invoice.unwrap();
    assert_eq!(preview.total, dollars("1280.00"), "2,400.00 × 16/30");
    assert!(preview.lines.iter().all(|it| !it.explanation.is_empty()));
    let request = account::GetStatementRequest {
        account_id: id.clone(),
        month: "2026-03".to_owned(),
    };
    let statement = customers.get_statement(request).await.unwrap().into_inner();
    let of = |it: Option<proto::r#type::v1::Amount>| it.unwrap().amount;
    assert_eq!(of(statement.opening_balance), "0.000000");
    assert_eq!(of(statement.closing_balance), "100.000000");
    assert!(!statement.entries.is_empty());
    let request = account::GetSubscriptionRequest {
        account_id: id.clone(),
        family_code: "SUPPORT".to_owned(),
    };
    assert_eq!(
        refused(customers.get_subscription(request).await),
        (Code::NotFound, "SUBSCRIPTION_NOT_FOUND".to_owned())
    );
}

#[tokio::test]
async fn req_069_a_customer_asks_for_a_refund_and_follows_it_also_after_closing() {
    let h = Harness::start().await;
    let who = h.customer();
    let id = h.account().await;
    added(&who, &id, "tok_ok").await.unwrap();
    let paid = buys(&h, &who, &id, "100.00").await;
    let asked = account::RefundOrder {
        amount: dollars("30.00"),
    };
    let order = bought(&h, &who, &id, Kind::RefundOrder(asked)).await;
    assert_eq!(order.unwrap().state(), State::Completed);
    let listed = refunds(&who, &id).await.unwrap();
    assert_eq!(listed.len(), 1);
    let request = |account_id: &str, refund_id: &str| account::GetRefundRequest {
        account_id: account_id.to_owned(),
        refund_id: refund_id.to_owned(),
    };
    let refund = listed[0].refund_id.clone();
    let got = who
        .customers
        .clone()
        .get_refund(request(&id, &refund))
        .await;
    assert_eq!(
        got.unwrap().into_inner().refund.unwrap().amount,
        dollars("30.00")
    );

    // Another account of the same owner has none of it.
    let other = h.account().await;
    let got = who
        .customers
        .clone()
        .get_refund(request(&other, &refund))
        .await;
    assert_eq!(
        refused(got),
        (Code::NotFound, "REFUND_NOT_FOUND".to_owned())
    );

    close(&who, &id).await.unwrap();
    assert_eq!(refunds(&who, &id).await.unwrap().len(), 2);
    invoice(&who, (&id, &paid.invoice_id)).await.unwrap();
    balance(&who, &id).await.unwrap();
    assert_eq!(
        refused(added(&who, &id, "tok_ok_later").await),
        (Code::FailedPrecondition, "ACCOUNT_CLOSED".to_owned())
    );
}

#[tokio::test]
async fn an_invoice_of_another_account_is_as_good_as_none() {
    let h = Harness::start().await;
    let who = h.customer();
    let (id, other) = (h.account().await, h.account().await);
    added(&who, &id, "tok_ok").await.unwrap();
    let paper = buys(&h, &who, &id, "50.00").await.invoice_id;
    let none = "IN00000000000000000000000000000001";
    let told = async |account_id: &str, invoice_id: &str| {
        let status = invoice(&who, (account_id, invoice_id)).await.unwrap_err();
        let text = status.message().replace(invoice_id, "IT");
        (status.code(), reason(&status), text)
    };
    let of_another = told(&other, &paper).await;
    assert_eq!(of_another, told(&other, none).await);
    assert_eq!(
        (of_another.0, of_another.1.as_str()),
        (Code::NotFound, "INVOICE_NOT_FOUND")
    );
    let request = account::RenderInvoiceRequest {
        account_id: other,
        invoice_id: paper,
        ..account::RenderInvoiceRequest::default()
    };
    let rendered = who.customers.clone().render_invoice(request).await;
    assert_eq!(refused(rendered).1, "INVOICE_NOT_FOUND");
}

/// The methods of the service, by name.
fn described() -> BTreeMap<String, MethodDescriptor> {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
    let service = pool.get_service_by_name(SERVICE).unwrap();
    let methods = service.methods().map(|it| (it.name().to_owned(), it));
    methods.collect()
}

#[test]
fn each_method_of_an_account_has_its_right() {
    let of_account: Vec<String> = described()
        .into_iter()
        .filter(|(_, it)| it.input().get_field_by_name("account_id").is_some())
        .map(|(name, _)| name)
        .collect();
    let mut named: Vec<&str> = RIGHTS.iter().map(|(name, _)| *name).collect();
    named.sort_unstable();
    assert_eq!(of_account, named);
    assert!(described().len() <= 26, "a service that a person can read");
}

/// What became of a call: how it was refused, without the account's id.
async fn told(
    raw: &Raw,
    method: &MethodDescriptor,
    token: &str,
    id: &str,
) -> (Code, String, String) {
    let real = BTreeMap::from([("account_id", id.to_owned())]);
    let message = filled(&method.input(), &real).encode_to_vec();
    let path = format!("/{SERVICE}/{}", method.name());
    match raw.call(&path, Some(token), message).await {
        Ok(()) => (Code::Ok, String::new(), String::new()),
        Err(status) => {
            let info = status.get_details_error_info().unwrap();
            let text = status.message().replace(id, "IT");
            (status.code(), info.reason, text)
        }
    }
}

#[tokio::test]
async fn req_038_each_role_does_what_its_rights_say_and_to_a_stranger_there_is_no_account() {
    let h = Harness::start().await;
    let id = h.account().await;
    let sub = h.subaccount(&id).await;
    let raw = Raw::connect(h.urls.of("account-lifecycle")).await;
    let grant = async |of: &str, role: &str| {
        let user = h.user(&format!("{role}-of-{of}")).await;
        let request = account::GrantRoleRequest {
            account_id: of.to_owned(),
            user_id: user.clone(),
            role_code: role.to_owned(),
            request_id: request_id(),
        };
        h.customer().account.grant_role(request).await.unwrap();
        h.suite.keys.person(&user).unwrap()
    };
    let all = [Right::SeeMoney, Right::BuyCredits, Right::ChangePlan];
    let mut roles = vec![("OWNER", h.suite.keys.person(&h.owner).unwrap(), &all[..])];
    for (role, rights) in [
        ("ADMINISTRATOR", &all[..]),
        ("BILLING_MANAGER", &all[..]),
        ("DEVELOPER", &[]),
        ("SUPPORT", &[]),
    ] {
        roles.push((role, grant(&id, role).await, rights));
    }
    let stranger = h.user("stranger").await;
    let stranger = h.suite.keys.person(&stranger).unwrap();
    let of_sub = grant(&sub, "OWNER").await;
    let nowhere = "AC00000000000000000000000000000001";
    let methods = described();
    let mut cells = 0;
    for (name, right) in RIGHTS {
        let method = &methods[name];
        for (role, token, rights) in &roles {
            let (code, why, text) = told(&raw, method, token, &id).await;
            let may = right == Right::Member || rights.contains(&right);
            let denied = (code, why.as_str()) == (Code::PermissionDenied, "ROLE_NOT_ALLOWED");
            assert_eq!(denied, !may, "{name} by {role}: {code:?} {why} {text}");
            assert!(
                !matches!(code, Code::Internal | Code::Unknown | Code::Unavailable),
                "{name} by {role}: {code:?} {text}"
            );
            assert_ne!(why, "ACCOUNT_NOT_FOUND", "{name} by {role}");
            cells += 1;
        }
        // Whoever has no role in it is told what they are told of one that never was.
        let of_none = told(&raw, method, &stranger, nowhere).await;
        assert_eq!(of_none.0, Code::NotFound, "{name}");
        assert_eq!(of_none.1, "ACCOUNT_NOT_FOUND", "{name}");
        for token in [&stranger, &of_sub] {
            assert_eq!(told(&raw, method, token, &id).await, of_none, "{name}");
        }
        // A subaccount has usage and plans, and no money.
        let (code, why, _) = told(&raw, method, &of_sub, &sub).await;
        if right != Right::Member {
            assert_eq!(
                (code, why.as_str()),
                (Code::FailedPrecondition, "USE_ROOT_ACCOUNT"),
                "{name}"
            );
        }
        cells += 4;
    }
    println!("{cells} cells of method and role");
}

#[tokio::test]
async fn req_042_each_method_reads_a_closed_account_and_none_changes_it() {
    let h = Harness::start().await;
    let id = h.account().await;
    close(&h.customer(), &id).await.unwrap();
    let raw = Raw::connect(h.urls.of("account-lifecycle")).await;
    let token = h.suite.keys.person(&h.owner).unwrap();
    let methods = described();
    for (name, _) in RIGHTS {
        let method = &methods[name];
        let (code, why, text) = told(&raw, method, &token, &id).await;
        let changes = method.input().get_field_by_name("request_id").is_some();
        let closed = (code, why.as_str()) == (Code::FailedPrecondition, "ACCOUNT_CLOSED");
        assert_eq!(closed, changes, "{name}: {code:?} {why} {text}");
        assert_ne!(why, "ACCOUNT_NOT_FOUND", "{name}");
    }
}

#[tokio::test]
async fn what_is_of_another_account_is_as_good_as_what_never_was() {
    let h = Harness::start().await;
    let who = h.customer();
    let (id, other) = (h.account().await, h.account().await);
    let method = added(&who, &id, "tok_ok").await.unwrap();
    let order = h.quote(&who, &id, "business").await.unwrap();
    let stranger = h.person(&h.user("stranger").await);
    let told = |status: Status, it: &str| {
        let text = status.message().replace(it, "IT");
        (status.code(), reason(&status), text)
    };
    let none = "PM00000000000000000000000000000001".to_owned();
    let (mut removed, mut set) = (Vec::new(), Vec::new());
    for it in [&method.payment_method_id, &none] {
        let remove = account::RemovePaymentMethodRequest {
            account_id: other.clone(),
            payment_method_id: it.clone(),
            request_id: request_id(),
        };
        let answer = who.customers.clone().remove_payment_method(remove).await;
        removed.push(told(answer.unwrap_err(), it));
        let request = account::SetDefaultPaymentMethodRequest {
            account_id: other.clone(),
            payment_method_id: it.clone(),
            request_id: request_id(),
        };
        let mut client = who.customers.clone();
        let answer = client.set_default_payment_method(request).await;
        set.push(told(answer.unwrap_err(), it));
    }
    for answers in [removed, set] {
        assert_eq!(answers[0], answers[1]);
        assert_eq!(answers[0].1, "PAYMENT_METHOD_NOT_FOUND");
    }
    let mine = [(method.payment_method_id, true)];
    assert_eq!(methods(&who, &id).await, mine, "nothing was done");
    let never = account::Order {
        order_id: "OR00000000000000000000000000000001".to_owned(),
        ..order.clone()
    };
    let mut answers = Vec::new();
    for it in [&order, &never] {
        let status = cancelled(&stranger, it).await.unwrap_err();
        answers.push(told(status, &it.order_id));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0].1, "ORDER_NOT_FOUND");
    let untouched = self::order(&who, &order.order_id).await;
    assert_eq!(untouched.state(), State::Quoted);
}

#[tokio::test]
async fn a_member_of_a_contract_does_not_learn_who_pays_for_it() {
    let h = Harness::start().await;
    let who = h.customer();
    let (payer, member) = (h.account().await, h.account().await);
    h.contract("business", &[&payer, &member]).await;
    for (id, shown) in [(&payer, payer.as_str()), (&member, "")] {
        let request = account::ListPlanHistoryRequest {
            account_id: id.clone(),
            family_code: "SUPPORT".to_owned(),
        };
        let history = who.customers.clone().list_plan_history(request).await;
        let now = history.unwrap().into_inner().segments.pop().unwrap();
        assert_eq!(now.plan_code, "business");
        assert_eq!(now.payer_account_id, shown);
    }
}

#[tokio::test]
async fn a_dormant_account_keeps_its_payment_methods_in_order_and_buys_nothing() {
    let h = Harness::start().await;
    let who = h.customer();
    let id = h.account().await;
    let quoted = h.quote(&who, &id, "business").await.unwrap();
    let uuid = id.trim_start_matches("AC");
    let at = "2026-03-01T12:00:00Z";
    let sql =
        format!("UPDATE account.accounts SET dormant_at = '{at}' WHERE account_id = '{uuid}'");
    sqlx::query(AssertSqlSafe(sql))
        .execute(&h.db)
        .await
        .unwrap();
    added(&who, &id, "tok_ok").await.unwrap();
    assert_eq!(methods(&who, &id).await.len(), 1);
    balance(&who, &id).await.unwrap();
    let dormant = (Code::FailedPrecondition, "ACCOUNT_DORMANT".to_owned());
    assert_eq!(refused(cancelled(&who, &quoted).await), dormant);
    let offer = "CO00000000000000000000000000000001";
    assert_eq!(refused(accepted(&who, &id, offer).await), dormant);
}

#[tokio::test]
async fn a_retry_is_answered_as_the_first_call_and_the_owner_of_the_data_is_asked_once() {
    let mut h = Harness::start().await;
    let who = h.customer();
    let mut customers = who.customers.clone();
    let id = h.account().await;
    let request = account::AddPaymentMethodRequest {
        account_id: id.clone(),
        method_code: "CARD".to_owned(),
        provider_token: "tok_ok".to_owned(),
        request_id: request_id(),
        ..account::AddPaymentMethodRequest::default()
    };
    // While the owner of the data is away nothing is known to have happened.
    assert!(h.suite.kill("payments").await);
    let away = customers.add_payment_method(request.clone()).await;
    assert_eq!(away.unwrap_err().code(), Code::Unavailable);
    h.suite.spawn("payments", &[]).unwrap();
    h.suite.wait_for("payments").await.unwrap();
    let mut answers = Vec::new();
    for _ in 0..3 {
        let answer = customers.add_payment_method(request.clone()).await;
        answers.push(answer.unwrap().into_inner());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    assert_eq!(h.count("SELECT count(*) FROM payments.methods").await, 1);
    let asked = "SELECT count(*) FROM payments.requests WHERE method = 'AddPaymentMethod'";
    assert_eq!(h.count(asked).await, 1);
    let other = account::AddPaymentMethodRequest {
        provider_token: "tok_ok_2".to_owned(),
        ..request.clone()
    };
    assert_eq!(
        refused(customers.add_payment_method(other).await),
        (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned())
    );
    // Another person's intent is another one, though its id is the same.
    let manager = with_role(&h, &id, "BILLING_MANAGER").await;
    let theirs = account::AddPaymentMethodRequest {
        provider_token: "tok_ok_3".to_owned(),
        ..request.clone()
    };
    let mut manager = manager.customers;
    manager.add_payment_method(theirs).await.unwrap();
    assert_eq!(methods(&who, &id).await.len(), 2);
    // Whoever has lost their role is not told again.
    let members = account::ListMembersRequest {
        account_id: id.clone(),
        ..account::ListMembersRequest::default()
    };
    let members = who.account.clone().list_members(members).await.unwrap();
    let members = members.into_inner().members.into_iter();
    let of_manager = members.filter(|it| it.role_code == "BILLING_MANAGER");
    let user_id = of_manager.map(|it| it.user_id).next().unwrap();
    let revoke = account::RevokeRoleRequest {
        account_id: id.clone(),
        user_id,
        role_code: "BILLING_MANAGER".to_owned(),
        request_id: request_id(),
    };
    who.account.clone().revoke_role(revoke).await.unwrap();
    let again = account::AddPaymentMethodRequest {
        provider_token: "tok_ok_3".to_owned(),
        ..request
    };
    assert_eq!(
        refused(manager.add_payment_method(again).await),
        (Code::NotFound, "ACCOUNT_NOT_FOUND".to_owned())
    );
}

#[tokio::test]
async fn a_card_number_is_refused_at_the_door() {
    let h = Harness::start().await;
    let id = h.account().await;
    let status = added(&h.customer(), &id, "4242424242424242").await;
    assert_eq!(refused(status).1, "CARD_NUMBER_REFUSED");
    let asked = "SELECT count(*) FROM payments.requests WHERE method = 'AddPaymentMethod'";
    assert_eq!(h.count(asked).await, 0);
}

/// A trial of `india` that its owner has made, with an approved KYC and billing details of their own.
async fn known_trial(h: &Harness) -> String {
    let who = h.customer();
    let request = account::CreateAccountRequest {
        profile_code: "india".to_owned(),
        display_name: "Chai".to_owned(),
        owner_user_id: h.owner.clone(),
        request_id: request_id(),
        ..account::CreateAccountRequest::default()
    };
    let made = who.account.clone().create_account(request).await.unwrap();
    let id = made.into_inner().account.unwrap().account_id;
    approved(h, &id).await;
    let request = account::UpdateBillingDetailsRequest {
        account_id: id.clone(),
        billing_details: Some(account::BillingDetails {
            recipient_name: "Chai Pvt. Ltd.".to_owned(),
            country_code: "IN".to_owned(),
            state_code: "MH".to_owned(),
            ..account::BillingDetails::default()
        }),
        request_id: request_id(),
        ..account::UpdateBillingDetailsRequest::default()
    };
    let given = who.account.clone().update_billing_details(request).await;
    given.unwrap();
    id
}

/// An offer of sales for `enterprise`.
async fn offered(h: &Harness, id: &str) -> plan::ContractOffer {
    let request = plan::CreateContractOfferRequest {
        account_id: id.to_owned(),
        plan_code: "enterprise".to_owned(),
        monthly_minimum: rupees("50000.00"),
        term_months: 12,
        expire_time: Some(timestamp(instant("2026-05-01T00:00:00Z"))),
        request_id: request_id(),
        ..plan::CreateContractOfferRequest::default()
    };
    let mut sales = h.operator_with("SALES").plan;
    let offer = sales.create_contract_offer(request).await.unwrap();
    offer.into_inner().contract_offer.unwrap()
}

async fn accepted(who: &Clients, id: &str, offer: &str) -> Result<plan::ContractOffer, Status> {
    let request = account::AcceptOfferRequest {
        account_id: id.to_owned(),
        offer_id: offer.to_owned(),
        request_id: request_id(),
    };
    let answer = who.customers.clone().accept_offer(request).await?;
    Ok(answer.into_inner().offer.unwrap())
}

/// The offers that are listed, page by page, with where each stands.
async fn offers(who: &Clients, id: &str) -> Vec<(String, plan::contract_offer::State)> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = account::ListOffersRequest {
            account_id: id.to_owned(),
            page_size: 1,
            page_token,
        };
        let page = who.customers.clone().list_offers(request).await.unwrap();
        let page = page.into_inner();
        all.extend(
            page.offers
                .iter()
                .map(|it| (it.offer_id.clone(), it.state())),
        );
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

/// Adds a method that is settled offline, as a customer does.
async fn by_wire(who: &Clients, id: &str) -> String {
    let request = account::AddPaymentMethodRequest {
        account_id: id.to_owned(),
        method_code: "WIRE".to_owned(),
        request_id: request_id(),
        ..account::AddPaymentMethodRequest::default()
    };
    let added = who.customers.clone().add_payment_method(request).await;
    let method = added.unwrap().into_inner().payment_method.unwrap();
    method.payment_method_id
}

/// Enterprise for a year by wire, as a customer orders it.
fn enterprise(method: &str) -> Kind {
    Kind::Upgrade(account::Upgrade {
        payment_method_id: method.to_owned(),
        ..upgrade("enterprise", "ANNUAL", "50000.00")
    })
}

/// Records that the wire of an account has arrived, as the operator of payments does.
async fn wired(h: &Harness, id: &str) -> Result<(), Status> {
    let mut desk = h.operator_with("BILLING").payments;
    let request = payments::ListChargesRequest {
        account_id: id.to_owned(),
        ..payments::ListChargesRequest::default()
    };
    let charges = desk.list_charges(request).await.unwrap().into_inner();
    let charge = charges.charges.into_iter().next().unwrap();
    let request = payments::SettleChargeRequest {
        account_id: id.to_owned(),
        charge_id: charge.charge_id,
        outcome: payments::settle_charge_request::Outcome::Settled.into(),
        amount: charge.amount,
        reference: format!("wire of {id}"),
        settle_time: Some(timestamp(instant("2026-03-01T12:00:00Z"))),
        request_id: request_id(),
    };
    desk.settle_charge(request).await?;
    Ok(())
}

/// The order once it stands so.
async fn until(who: &Clients, id: &str, state: State) -> account::Order {
    for _ in 0..1_200 {
        let now = order(who, id).await;
        if now.state() == state {
            return now;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the order does not come to {state:?}");
}

/// The subscription to the platform, once the news of its plan has come to billing.
async fn subscription(who: &Clients, id: &str) -> billing::Subscription {
    let begun = std::time::Instant::now();
    loop {
        let request = account::GetSubscriptionRequest {
            account_id: id.to_owned(),
            family_code: "PLATFORM".to_owned(),
        };
        match who.customers.clone().get_subscription(request).await {
            Err(status) if status.code() == Code::NotFound && begun.elapsed() < PATIENCE => {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            answer => return answer.unwrap().into_inner().subscription.unwrap(),
        }
    }
}

#[tokio::test]
async fn req_094_enterprise_is_accepted_and_bought_by_the_customer_and_paid_by_wire() {
    use plan::contract_offer::State as Offer;
    let h = Harness::start().await;
    let who = h.customer();
    let id = known_trial(&h).await;
    let refusal = quote(&who, &id, enterprise("")).await;
    assert_eq!(refused(refusal).1, "CONTACT_SALES");
    let old = offered(&h, &id).await.offer_id;
    h.advance("2026-03-02T12:00:00Z").await;
    let offer = offered(&h, &id).await.offer_id;
    let open = [(offer.clone(), Offer::Open), (old.clone(), Offer::Open)];
    assert_eq!(offers(&who, &id).await, open);

    // Another account of the same owner is offered nothing by it, and a role without the right accepts nothing.
    let other = h.account().await;
    let not_found = (Code::NotFound, "CONTRACT_OFFER_NOT_FOUND".to_owned());
    assert_eq!(refused(accepted(&who, &other, &offer).await), not_found);
    let agent = with_role(&h, &id, "AGENT").await;
    assert_eq!(
        refused(accepted(&agent, &id, &offer).await),
        (Code::PermissionDenied, "ROLE_NOT_ALLOWED".to_owned())
    );
    let it = accepted(&who, &id, &offer).await.unwrap();
    assert_eq!(it.state(), Offer::Accepted);
    accepted(&who, &id, &offer).await.unwrap();
    let now = [(offer.clone(), Offer::Accepted), (old, Offer::Open)];
    assert_eq!(offers(&who, &id).await, now);
    // Sales sees the same.
    let request = plan::ListContractOffersRequest {
        account_id: id.clone(),
        ..plan::ListContractOffersRequest::default()
    };
    let mut sales = h.operator_with("SALES").plan;
    let listed = sales.list_contract_offers(request).await.unwrap();
    assert_eq!(listed.into_inner().contract_offers.len(), 2);

    let method = by_wire(&who, &id).await;
    let bought = bought(&h, &who, &id, enterprise(&method)).await.unwrap();
    assert_eq!(bought.state(), State::AwaitingSettlement);
    wired(&h, &id).await.unwrap();
    until(&who, &bought.order_id, State::Completed).await;
    assert_eq!(subscription(&who, &id).await.payment_method_id, method);
    assert_eq!(balance(&who, &id).await.unwrap(), "50000.000000");

    h.advance("2026-05-02T00:00:00Z").await;
    let states: Vec<Offer> = offers(&who, &id).await.into_iter().map(|it| it.1).collect();
    assert_eq!(states, [Offer::Accepted, Offer::Expired]);
}

#[tokio::test]
async fn req_039_a_wire_under_way_is_called_back_and_the_customer_may_leave() {
    let h = Harness::start().await;
    let who = h.customer();
    let id = known_trial(&h).await;
    let offer = offered(&h, &id).await.offer_id;
    accepted(&who, &id, &offer).await.unwrap();
    let method = by_wire(&who, &id).await;
    let trial = balance(&who, &id).await.unwrap();
    let waiting = bought(&h, &who, &id, enterprise(&method)).await.unwrap();
    assert_eq!(waiting.state(), State::AwaitingSettlement);
    let request = account::CloseAccountRequest {
        acknowledgement_codes: [
            "ACCOUNT_PERMANENTLY_CLOSED",
            "SERVICES_STOP",
            "DATA_DELETED_30_DAYS",
            "NO_REFUND",
        ]
        .map(str::to_owned)
        .to_vec(),
        ..closing(&id, Way::Close)
    };
    let barred = who.account.clone().close_account(request.clone()).await;
    assert_eq!(refused(barred).1, "ORDER_UNDER_WAY");
    let ways = account::GetCloseOptionsRequest {
        account_id: id.clone(),
    };
    let told = who.account.clone().get_close_options(ways.clone()).await;
    let blocker = account::get_close_options_response::Blocker {
        reason: "ORDER_UNDER_WAY".to_owned(),
        resource: waiting.order_id.clone(),
        remedy_code: "CANCEL_ORDER".to_owned(),
    };
    assert_eq!(told.unwrap().into_inner().close_blockers, [blocker]);

    let gone = cancelled(&who, &waiting).await.unwrap();
    assert_eq!(gone.state(), State::Cancelled);
    assert_eq!(gone.failure_reason, "");
    let told = who.account.clone().get_close_options(ways).await;
    assert!(told.unwrap().into_inner().close_blockers.is_empty());
    let charges = payments::ListChargesRequest {
        account_id: id.clone(),
        ..payments::ListChargesRequest::default()
    };
    let charges = h.operator.payments.clone().list_charges(charges).await;
    let charge = charges.unwrap().into_inner().charges.remove(0);
    assert_eq!(charge.state(), payments::MovementState::Declined);
    assert_eq!(charge.failure_reason, "WITHDRAWN");
    assert_eq!(cancelled(&who, &waiting).await.unwrap(), gone);
    // What arrives nevertheless is not its money any more.
    assert_eq!(
        refused(wired(&h, &id).await),
        (Code::FailedPrecondition, "CHARGE_NOT_PENDING".to_owned())
    );
    h.advance("2026-03-03T12:00:00Z").await;
    assert_eq!(
        order(&who, &waiting.order_id).await.state(),
        State::Cancelled
    );
    assert_eq!(balance(&who, &id).await.unwrap(), trial, "no credit");

    // Another order may follow, and be called back too.
    let second = bought(&h, &who, &id, enterprise(&method)).await.unwrap();
    assert_eq!(second.state(), State::AwaitingSettlement);
    cancelled(&who, &second).await.unwrap();
    let request = account::CloseAccountRequest {
        request_id: request_id(),
        ..request
    };
    who.account.clone().close_account(request).await.unwrap();
}

#[tokio::test]
async fn an_order_that_has_expired_reads_so_and_one_that_is_open_can_be_cancelled() {
    let h = Harness::start().await;
    let who = h.customer();
    let id = h.account().await;
    let not_open = (Code::FailedPrecondition, "ORDER_NOT_OPEN".to_owned());
    let quoted = h.quote(&who, &id, "business").await.unwrap();
    let confirmed = h.quote(&who, &id, "production").await.unwrap();
    let confirmed = h.confirm(&who, &confirmed).await.unwrap();

    // By whoever may confirm it, once and again.
    let developer = with_role(&h, &id, "DEVELOPER").await;
    assert_eq!(
        refused(cancelled(&developer, &confirmed).await),
        (Code::PermissionDenied, "ROLE_NOT_ALLOWED".to_owned())
    );
    let stranger = h.user("stranger").await;
    assert_eq!(
        refused(cancelled(&h.person(&stranger), &confirmed).await),
        (Code::NotFound, "ORDER_NOT_FOUND".to_owned())
    );
    let gone = cancelled(&who, &confirmed).await.unwrap();
    assert_eq!(gone.state(), State::Cancelled);
    assert_eq!(cancelled(&who, &confirmed).await.unwrap(), gone);
    for answer in [h.confirm(&who, &gone).await, h.commit(&who, &gone).await] {
        assert_eq!(refused(answer).1, "ORDER_NOT_QUOTED");
    }
    let done = h.change("2026-03-01T12:01:00Z", &id, "business").await;
    assert_eq!(refused(cancelled(&who, &done).await), not_open);

    // What an operator has quoted, an operator gives up.
    let theirs = h.quote(&h.operator, &id, "production").await.unwrap();
    assert_eq!(
        refused(cancelled(&who, &theirs).await),
        (Code::PermissionDenied, "ORDER_OF_OPERATOR".to_owned())
    );
    let support = h.operator_with("SUPPORT_AGENT");
    cancelled(&support, &theirs).await.unwrap();

    let ends = perdiem::connect::instant(quoted.expire_time).unwrap();
    h.advance(&ends.to_rfc3339()).await;
    assert_eq!(order(&who, &quoted.order_id).await.state(), State::Expired);
    let request = account::ListOrdersRequest {
        account_id: id.clone(),
        ..account::ListOrdersRequest::default()
    };
    let listed = who.account.clone().list_orders(request).await.unwrap();
    let listed = listed.into_inner().orders.into_iter();
    let states: BTreeMap<String, State> =
        listed.map(|it| (it.order_id.clone(), it.state())).collect();
    assert_eq!(states[&quoted.order_id], State::Expired);
    assert_eq!(states[&gone.order_id], State::Cancelled);
    assert_eq!(states[&done.order_id], State::Completed);
    assert_eq!(refused(cancelled(&who, &quoted).await), not_open);
}

#[tokio::test]
async fn a_payment_that_waits_for_its_payer_says_where_and_is_not_called_back() {
    let mut h = Harness::start().await;
    let who = h.customer();
    let id = h.account().await;
    added(&who, &id, "tok_3ds_ok").await.unwrap();
    let waits = buys(&h, &who, &id, "40.00").await;
    assert_eq!(waits.state(), State::AwaitingPayment);
    let read = order(&who, &waits.order_id).await;
    assert!(read.action_url.starts_with("https://"), "{read:?}");
    assert_eq!(
        refused(cancelled(&who, &waits).await),
        (Code::Aborted, "ORDER_UNDER_WAY".to_owned())
    );
    // The order is shown also while who knows of its payment is away.
    assert!(h.suite.kill("billing").await);
    let alone = order(&who, &waits.order_id).await;
    assert_eq!(alone.state(), State::AwaitingPayment);
    assert_eq!(alone.action_url, "");
    h.suite.spawn("billing", &[]).unwrap();
    h.suite.wait_for("billing").await.unwrap();
    h.advance("2026-03-01T12:05:00Z").await;
    let paid = until(&who, &waits.order_id, State::Completed).await;
    assert_eq!(paid.action_url, "");
    assert_eq!(balance(&who, &id).await.unwrap(), "40.000000");
}

#[tokio::test]
async fn req_102_an_auto_recharge_that_the_customer_agreed_to_is_charged() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let who = h.customer();
    let id = known_trial(h).await;
    added(&who, &id, "tok_ok").await.unwrap();
    let asked = Kind::Upgrade(upgrade("starter", "MONTHLY", "1000.00"));
    bought(h, &who, &id, asked).await.unwrap();
    let request = account::SetAutoRechargeRequest {
        account_id: id.clone(),
        auto_recharge: Some(billing::AutoRecharge {
            enabled: true,
            ..billing::AutoRecharge::default()
        }),
        request_id: request_id(),
    };
    let set = who.customers.clone().set_auto_recharge(request).await;
    let set = set.unwrap().into_inner().auto_recharge.unwrap();
    assert_eq!(set.mode, "ADD_AMOUNT");
    // 3,000 parts at 0.20 leave 400.00, which is below the threshold.
    shop.texts(&id, "2026-03-01T12:00:00Z", "3000").await;
    let amount: u32 = set
        .amount
        .unwrap()
        .amount
        .split('.')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    shop.balance_is(&id, &format!("{}.000000", amount + 400))
        .await;
    assert_eq!(invoices(&who, &id).await.unwrap().len(), 2);
}
