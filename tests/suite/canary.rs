//! A word in every text field of every mutating method of an account that is closed: thirty days later it is nowhere but
//! where the registry says that the law keeps it. Which fields there are is read from the descriptors, so that a new
//! one is sent with the word, or says here why no word gets in.

use std::collections::BTreeSet;
use std::path::PathBuf;

use chassis::Fate;
use perdiem::connect::{request_id, timestamp};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind as Type, MessageDescriptor, Value};
use proto::Mutation;
use proto::account::v1 as account;
use proto::account::v1::account::SuspensionReason;
use proto::account::v1::closing::Option as Way;
use proto::account::v1::create_order_request::Kind;
use proto::account::v1::review_kyc_request::Action;
use proto::billing::v1 as billing;
use proto::payments::v1 as payments;
use proto::r#type::v1::Amount;

use crate::access::TABLES;
use crate::closing::{close, closing, dollars, granted};
use crate::deletion::{files_with, found, places_with, receipt};
use crate::harness::{Harness, event, instant};
use crate::money::Shop;
use crate::subscriptions::{DOCUMENTS, approved, bought, review, trial};

/// What is planted: short enough for a sender name of SMS.
const WORD: &str = "Zeisig";

/// Usage is no intent with a request ID; what it says is stored all the same.
const USAGE: [&str; 2] = ["RecordUsage", "StreamUsage"];

/// Names of fields that can hold no word, in whichever method, and why.
const WORDLESS: &[(&[&str], &str)] = &[
    (
        &[
            "account_id",
            "billing_run_id",
            "charge_id",
            "collection_id",
            "contract_id",
            "dlt_registration_id",
            "import_account_id",
            "invoice_id",
            "kyc_id",
            "lot_id",
            "member_account_ids",
            "movement_id",
            "offer_id",
            "order_id",
            "owner_user_id",
            "parent_account_id",
            "payer_account_id",
            "payment_method_id",
            "rental_id",
            "request_id",
            "resource_id",
            "ticket_id",
            "user_id",
            "whitelisted_number_id",
        ],
        "an ID, which is parsed",
    ),
    (
        &["subject_id", "webhook_event_id", "work_id", "job_name"],
        "names a row of our own work, which is looked up",
    ),
    (
        &[
            "acknowledgement_codes",
            "add_on_code",
            "app_code",
            "billing_cycle_code",
            "catalogue_version",
            "channel_code",
            "checklist_codes",
            "document_code",
            "family_code",
            "feature_code",
            "file_type_code",
            "method_code",
            "network_code",
            "number_type_code",
            "plan_code",
            "priority_code",
            "profile_code",
            "provider_code",
            "role_code",
            "version",
        ],
        "a code that is looked up in the catalogue or in the configuration, or compared with it and not stored",
    ),
    (
        &["country_code", "currency_code", "state_code"],
        "a code of a place or a currency; REQ-070 keeps where an invoice was taxed",
    ),
    (
        &["category"],
        "a code of the usage source; what was used is summed by it",
    ),
    (
        &[
            "amount",
            "cycle_end_date",
            "due_date",
            "month",
            "quantity",
            "received_date",
        ],
        "a number or a date, which is parsed",
    ),
    (
        &["figure", "kind", "mode", "value"],
        "a word of a list, or a figure, which is parsed",
    ),
    (
        &["disable_reason"],
        "is told and not taken: an input is ignored",
    ),
    (&["digest"], "a digest in hexadecimal digits"),
    (&["number"], "a phone number, of digits"),
    (
        &["code"],
        "the digits of a verification, or the type of a number in the catalogue",
    ),
    (&["timeline_etag"], "an etag of ours, which is compared"),
];

/// Fields that could hold a word and are not planted here, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "account.v1.AddPaymentMethod.bank_code",
        "a bank of the catalogue, which is looked up",
    ),
    (
        "payments.v1.AddPaymentMethod.bank_code",
        "a bank of the catalogue, which is looked up",
    ),
    (
        "billing.v1.UpdateAccountFacts.recipient",
        "what account-lifecycle tells of billing details, in which the word is planted",
    ),
    (
        "billing.v1.CollectOrder.lines.formula",
        "account-lifecycle's, in words of the catalogue",
    ),
    (
        "billing.v1.CancelBillingRun.reason",
        "an operator's word about a run, which is of no account",
    ),
    (
        "billing.v1.StreamUsage.source",
        "as in RecordUsage: one intake",
    ),
    (
        "billing.v1.StreamUsage.events.event_id",
        "as in RecordUsage: one intake",
    ),
    (
        "billing.v1.StreamUsage.events.message_text",
        "as in RecordUsage: one intake",
    ),
    (
        "payments.v1.CreateCharge.return_url",
        "the address of the operator's own pages",
    ),
    (
        "payments.v1.CreateRefund.refund_key",
        "billing's key of a refund",
    ),
    (
        "payments.v1.ImportCatalogue.document",
        "the operator's catalogue, which is of no account",
    ),
    (
        "payments.v1.SettleCharge.reference",
        "REQ-070: the bank's reference of a transfer is kept, as that of RecordInvoicePayment, which is planted",
    ),
    (
        "plan.v1.ImportCatalogue.document",
        "the operator's catalogue, which is of no account",
    ),
];

/// The name of a method, or of the method whose request it is.
fn short(message: &str) -> &str {
    let name = message.strip_prefix("perdiem.").unwrap_or(message);
    name.strip_suffix("Request").unwrap_or(name)
}

/// The paths of a message's fields that are text or bytes, wherever in it they are.
fn texts(descriptor: &MessageDescriptor, before: &str, all: &mut BTreeSet<String>) {
    for field in descriptor.fields() {
        let path = format!("{before}.{}", field.name());
        match field.kind() {
            Type::String | Type::Bytes => {
                all.insert(path);
            }
            Type::Message(inner) if inner.full_name() != "google.protobuf.Timestamp" => {
                texts(&inner, &path, all);
            }
            _ => {}
        }
    }
}

/// The text fields of every mutating method.
fn fields() -> BTreeSet<String> {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
    let mut all = BTreeSet::new();
    for (_, name, _) in TABLES {
        for method in pool.get_service_by_name(name).unwrap().methods() {
            let input = method.input();
            let mutates = input.get_field_by_name("request_id").is_some();
            if mutates || USAGE.contains(&method.name()) {
                texts(&input, short(input.full_name()), &mut all);
            }
        }
    }
    all
}

/// The name of the field at the end of a path.
fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Why a field is not sent with the word; `None` if it has to be.
fn excused(path: &str) -> Option<&'static str> {
    let by_name = WORDLESS
        .iter()
        .find(|(names, _)| names.contains(&last(path)));
    let alone = ELSEWHERE.iter().find(|(it, _)| *it == path);
    by_name
        .map(|(_, why)| *why)
        .or_else(|| alone.map(|(_, why)| *why))
}

/// The fields in which an accepted request had the word.
#[derive(Default)]
struct Planted(BTreeSet<String>);

impl Planted {
    /// Notes a request, which has to be accepted.
    fn by<M: Mutation>(&mut self, request: M) -> M {
        self.note(M::NAME, &request.encode_to_vec());
        request
    }

    fn note(&mut self, name: &str, bytes: &[u8]) {
        let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
        let descriptor = pool.get_message_by_name(name).unwrap();
        let message = DynamicMessage::decode(descriptor, bytes).unwrap();
        self.look_into(&message, short(name));
    }

    fn look_into(&mut self, message: &DynamicMessage, before: &str) {
        for (field, value) in message.fields() {
            self.look_at(value, &format!("{before}.{}", field.name()));
        }
    }

    fn look_at(&mut self, value: &Value, path: &str) {
        match value {
            Value::String(text) if text.to_lowercase().contains(&WORD.to_lowercase()) => {
                self.0.insert(path.to_owned());
            }
            Value::List(all) => all.iter().for_each(|it| self.look_at(it, path)),
            Value::Message(inner) => self.look_into(inner, path),
            _ => {}
        }
    }
}

/// A full account of `global`, with the word in what its customer and operators say of it.
async fn told_of(shop: &Shop, planted: &mut Planted) -> String {
    let h = &shop.h;
    let (mut customer, mut operator) = (h.customer().account, h.operator.account.clone());
    let made = account::CreateAccountRequest {
        profile_code: "global".to_owned(),
        display_name: WORD.to_owned(),
        owner_user_id: h.owner.clone(),
        r#type: account::account::Type::Full.into(),
        request_id: request_id(),
        ..account::CreateAccountRequest::default()
    };
    let made = operator.create_account(planted.by(made)).await.unwrap();
    let id = made.into_inner().account.unwrap().account_id;
    let sub = account::CreateSubaccountRequest {
        parent_account_id: id.clone(),
        display_name: WORD.to_owned(),
        request_id: request_id(),
        ..account::CreateSubaccountRequest::default()
    };
    let sub = operator.create_subaccount(planted.by(sub)).await.unwrap();
    let sub = sub.into_inner().account.unwrap().account_id;
    for of in [&id, &sub] {
        let resource = account::CreateResourceRequest {
            account_id: of.clone(),
            kind_code: WORD.to_owned(),
            sid: format!("FW{WORD}"),
            display_name: WORD.to_owned(),
            document: format!("{{\"greeting\": \"{WORD}\"}}"),
            request_id: request_id(),
        };
        customer
            .create_resource(planted.by(resource))
            .await
            .unwrap();
    }
    let ticket = account::CreateTicketRequest {
        account_id: id.clone(),
        channel_code: "EMAIL".to_owned(),
        priority_code: "P3".to_owned(),
        subject: format!("My name is {WORD}"),
        request_id: request_id(),
    };
    customer.create_ticket(planted.by(ticket)).await.unwrap();
    let details = account::UpdateBillingDetailsRequest {
        account_id: id.clone(),
        billing_details: Some(account::BillingDetails {
            recipient_name: format!("{WORD} Ltd"),
            address: format!("1 {WORD} Road"),
            country_code: "US".to_owned(),
            tax_id: WORD.to_owned(),
            email: format!("{WORD}@example.com"),
            ..account::BillingDetails::default()
        }),
        country_reason: format!("{WORD} has moved"),
        request_id: request_id(),
        ..account::UpdateBillingDetailsRequest::default()
    };
    let details = planted.by(details);
    operator.update_billing_details(details).await.unwrap();
    let payout = account::SetPayoutDetailsRequest {
        account_id: id.clone(),
        holder_name: WORD.to_owned(),
        account_number: format!("DE02{WORD}"),
        bank_code: format!("{WORD}DEM1"),
        request_id: request_id(),
    };
    let payout = planted.by(payout);
    customer.set_payout_details(payout).await.unwrap();
    let reason = SuspensionReason::Fraud.into();
    let suspend = account::SuspendAccountRequest {
        account_id: id.clone(),
        suspension_reason: reason,
        note: format!("a call of {WORD}"),
        request_id: request_id(),
    };
    operator.suspend_account(planted.by(suspend)).await.unwrap();
    let reinstate = account::ReinstateAccountRequest {
        account_id: id.clone(),
        suspension_reason: reason,
        note: format!("{WORD} explained it"),
        request_id: request_id(),
    };
    let reinstate = planted.by(reinstate);
    operator.reinstate_account(reinstate).await.unwrap();
    spent(shop, &id, planted).await;
    id
}

/// Credit, usage and payment methods of an account, with the word in them.
async fn spent(shop: &Shop, id: &str, planted: &mut Planted) {
    let h = &shop.h;
    let mut biller = h.operator.billing.clone();
    let lot = billing::GrantCreditRequest {
        account_id: id.to_owned(),
        kind: billing::lot::Kind::Promo.into(),
        amount: Some(Amount {
            currency_code: "USD".to_owned(),
            amount: "3.00".to_owned(),
        }),
        reason: format!("for {WORD}"),
        request_id: request_id(),
        ..billing::GrantCreditRequest::default()
    };
    let lot = biller.grant_credit(planted.by(lot)).await.unwrap();
    let void = billing::VoidCreditRequest {
        account_id: id.to_owned(),
        lot_id: lot.into_inner().lot.unwrap().lot_id,
        reason: format!("{WORD} has it twice"),
        request_id: request_id(),
        ..billing::VoidCreditRequest::default()
    };
    biller.void_credit(planted.by(void)).await.unwrap();
    let at = "2026-03-01T12:00:00Z";
    let message = billing::UsageEvent {
        quantity: String::new(),
        message_text: Some(format!("This is {WORD}.")),
        ..event("a message", id, at, "0.01")
    };
    let call = event(&format!("call of {WORD}"), id, at, "10.00");
    let usage = billing::RecordUsageRequest {
        source: WORD.to_lowercase(),
        events: vec![call, message],
    };
    planted.note(
        "perdiem.billing.v1.RecordUsageRequest",
        &usage.encode_to_vec(),
    );
    biller.record_usage(usage).await.unwrap();
    let own = account::AddPaymentMethodRequest {
        account_id: id.to_owned(),
        method_code: "CARD".to_owned(),
        provider_token: format!("tok_ok_{WORD}_own"),
        request_id: request_id(),
        ..account::AddPaymentMethodRequest::default()
    };
    let mut customers = h.customer().customers;
    customers.add_payment_method(planted.by(own)).await.unwrap();
    let other = payments::AddPaymentMethodRequest {
        account_id: id.to_owned(),
        method_code: "CARD".to_owned(),
        provider_token: format!("tok_ok_{WORD}"),
        default_method: true,
        request_id: request_id(),
        ..payments::AddPaymentMethodRequest::default()
    };
    let mut seller = shop.seller.payments.clone();
    seller.add_payment_method(planted.by(other)).await.unwrap();
    let purchase = account::CreditPurchase {
        amount: dollars("80.00"),
        payment_method_id: String::new(),
    };
    let kind = Kind::CreditPurchase(purchase);
    bought(h, &h.customer(), id, kind).await.unwrap();
}

/// A trial of `india` with the word in its papers; closed.
async fn papers(shop: &Shop, planted: &mut Planted) -> String {
    let h = &shop.h;
    let id = trial(shop, "tok_ok").await;
    let mut customer = h.customer().account;
    let document = |code: &&str| account::KycDocument {
        document_code: (*code).to_owned(),
        file_name: format!("{WORD}.pdf"),
        file_type_code: "PDF".to_owned(),
        size_bytes: 40_000,
        digest: "ab".repeat(32),
    };
    let submit = account::SubmitKycRequest {
        account_id: id.clone(),
        country_code: "IN".to_owned(),
        legal_name: format!("{WORD} Pvt. Ltd."),
        signatory_is_director: true,
        documents: DOCUMENTS.iter().map(document).collect(),
        request_id: request_id(),
    };
    let kyc = customer.submit_kyc(planted.by(submit)).await.unwrap();
    let kyc = kyc.into_inner().kyc_submission.unwrap();
    review(h, &kyc, Action::TakeUp).await.unwrap();
    let ask = account::ReviewKycRequest {
        kyc_id: kyc.kyc_id,
        action: Action::AskInformation.into(),
        reason: format!("the scan of {WORD} is cut"),
        request_id: request_id(),
    };
    let mut reviewer = h.operator_with("KYC").account;
    reviewer.review_kyc(planted.by(ask)).await.unwrap();
    approved(h, &id).await;
    let withdraw = account::WithdrawKycRequest {
        account_id: id.clone(),
        reason: format!("{WORD} is another"),
        request_id: request_id(),
    };
    let mut operator = h.operator.account.clone();
    operator.withdraw_kyc(planted.by(withdraw)).await.unwrap();
    let register = account::CreateDltRegistrationRequest {
        account_id: id.clone(),
        country_code: "IN".to_owned(),
        entity_id: WORD.to_owned(),
        headers: vec![WORD.to_owned()],
        request_id: request_id(),
    };
    let register = planted.by(register);
    customer.create_dlt_registration(register).await.unwrap();
    let acknowledged = account::CloseAccountRequest {
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
    customer.close_account(acknowledged).await.unwrap();
    id
}

/// A user who had the word in name and address, and is deleted.
async fn deleted_user(h: &Harness, planted: &mut Planted) {
    let mut operator = h.operator.account.clone();
    let create = account::CreateUserRequest {
        email: format!("{WORD}@example.com"),
        display_name: WORD.to_owned(),
        request_id: request_id(),
    };
    let user = operator.create_user(planted.by(create)).await.unwrap();
    let user = user.into_inner().user.unwrap().user_id;
    let update = account::UpdateUserRequest {
        user_id: user.clone(),
        display_name: format!("Another {WORD}"),
        email: format!("another.{WORD}@example.com"),
        request_id: request_id(),
    };
    let mut person = h.person(&user).customers;
    person.update_user(planted.by(update)).await.unwrap();
    let delete = account::DeleteUserRequest {
        user_id: user,
        request_id: request_id(),
    };
    operator.delete_user(delete).await.unwrap();
}

/// A refund of a closed account that a person has paid out, with the word in what that person says.
async fn paid_out(h: &Harness, id: &str, planted: &mut Planted) {
    let parked = payments::ListRefundsRequest {
        account_id: id.to_owned(),
        state: payments::MovementState::Parked.into(),
        ..payments::ListRefundsRequest::default()
    };
    let mut client = h.operator.payments.clone();
    let parked = client.list_refunds(parked).await.unwrap().into_inner();
    let resolve = payments::ResolveMovementRequest {
        account_id: id.to_owned(),
        movement_id: parked.refunds[0].refund_id.clone(),
        outcome: payments::resolve_movement_request::Outcome::Moved.into(),
        amount: dollars("80.00"),
        provider_movement_id: format!("UTR-{WORD}"),
        settle_time: Some(timestamp(instant("2026-03-01T12:00:00Z"))),
        note: format!("paid to {WORD}"),
        request_id: request_id(),
    };
    client.resolve_movement(planted.by(resolve)).await.unwrap();
}

/// Open invoices of two accounts that pay by invoice, with the word in what ends each.
async fn invoiced(shop: &Shop, of: [&str; 2], planted: &mut Planted) {
    let h = &shop.h;
    for id in of {
        h.change("2026-04-15T10:00:00Z", id, "business").await;
        h.used(id, "2026-04-15T00:00:00Z", "40000.00").await;
    }
    // Nothing is left to be billed in May.
    for id in of {
        h.change("2026-04-20T10:00:00Z", id, "developer").await;
    }
    h.advance("2026-05-04T12:00:00Z").await;
    let [credited, paid] = of;
    let invoice = h.invoices(credited).await.remove(0);
    let mut client = h.operator.billing.clone();
    let note = billing::CreateCreditNoteRequest {
        invoice_id: invoice.invoice_id.clone(),
        amount: dollars("10.00"),
        reason: format!("{WORD} was away"),
        request_id: request_id(),
        ..billing::CreateCreditNoteRequest::default()
    };
    client.create_credit_note(planted.by(note)).await.unwrap();
    let void = billing::VoidInvoiceRequest {
        invoice_id: invoice.invoice_id,
        reason: format!("an error, says {WORD}"),
        request_id: request_id(),
    };
    client.void_invoice(planted.by(void)).await.unwrap();
    let invoice = h.invoices(paid).await.remove(0);
    let transfer = billing::RecordInvoicePaymentRequest {
        invoice_id: invoice.invoice_id,
        amount: invoice.amount_due,
        reference: format!("from {WORD}"),
        received_date: "2026-05-03".to_owned(),
        request_id: request_id(),
    };
    let transfer = planted.by(transfer);
    client.record_invoice_payment(transfer).await.unwrap();
}

#[test]
fn what_is_said_of_text_fields_is_said_of_fields_that_there_are() {
    let all = fields();
    assert!(300 < all.len(), "{} text fields", all.len());
    let names: BTreeSet<&str> = all.iter().map(|it| last(it)).collect();
    let mut said = BTreeSet::new();
    for name in WORDLESS.iter().flat_map(|(names, _)| *names) {
        assert!(names.contains(name), "no field is called {name}");
        assert!(said.insert(*name), "{name} twice");
    }
    for (path, why) in ELSEWHERE {
        assert!(all.contains(*path), "no method has the field {path}");
        assert!(!said.contains(last(path)), "{path} is said twice");
        assert!(!why.is_empty() && said.insert(path), "{path} twice");
    }
}

#[tokio::test]
async fn a_word_in_every_text_field_of_every_method_is_gone_thirty_days_later() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let mut planted = Planted::default();
    let told = told_of(&shop, &mut planted).await;
    let tried = papers(&shop, &mut planted).await;
    deleted_user(h, &mut planted).await;
    // No charge brought its credit, so a person makes the transfer.
    let refunded = h.account().await;
    granted(h, &refunded, billing::lot::Kind::Paid, "80.00").await;
    close(&h.customer(), &refunded).await.unwrap();
    paid_out(h, &refunded, &mut planted).await;
    let mut by_invoice = Vec::new();
    for _ in 0..2 {
        let id = h.account_of("global", true).await;
        shop.live_in(&id, "IN", "KA", false).await;
        by_invoice.push(id);
    }
    let [credited, paid] = [&by_invoice[0], &by_invoice[1]];
    invoiced(&shop, [credited, paid], &mut planted).await;

    let all = fields();
    let escaped: Vec<_> = all
        .iter()
        .filter(|path| !planted.0.contains(*path) && excused(path).is_none())
        .collect();
    assert!(
        escaped.is_empty(),
        "sent without the word, and no reason is given: {escaped:#?}"
    );
    println!(
        "{} of {} text fields with the word",
        planted.0.len(),
        all.len()
    );

    close(&h.customer(), &told).await.unwrap();
    for id in [credited, paid] {
        close(&h.operator_with("SALES"), id).await.unwrap();
    }
    assert!(!found(h, WORD).await.is_empty());
    h.advance("2026-06-04T12:00:01Z").await;
    for id in [&told, &tried, &refunded, credited, paid] {
        receipt(h, id).await.unwrap();
    }
    let left = places_with(h, WORD).await;
    let is_kept = |(_, fate): &(String, Fate)| matches!(fate, Fate::Kept(_));
    assert!(left.iter().all(is_kept), "{left:?}");
    // No column is left out for its type.
    let kept = |table: &String| {
        let within = format!("{table}.");
        left.iter().any(|(place, _)| place.starts_with(&within))
    };
    let elsewhere: Vec<_> = found(h, WORD).await;
    assert!(elsewhere.iter().all(kept), "{elsewhere:?} beside {left:?}");
    let files = files_with(&h.suite.settings.folder, WORD);
    assert_eq!(files, Vec::<PathBuf>::new());
}
