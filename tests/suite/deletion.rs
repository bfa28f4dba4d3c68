//! The deletion of what a closed account has, thirty days later, and what the law keeps: looked for in every
//! column of every table of the four services, in their logs and in the files of their audit.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use chassis::{COMMON, Fate, Personal};
use perdiem::connect::{request_id, timestamp};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind as Type, MessageDescriptor, Value};
use proto::account::v1 as account;
use proto::account::v1::account::SuspensionReason;
use proto::account::v1::closing::Option as Way;
use proto::account::v1::create_order_request::Kind;
use proto::billing::v1 as billing;
use proto::payments::v1 as payments;
use proto::r#type::v1::Amount;
use sqlx::{AssertSqlSafe, PgPool};
use tests::hostile::filled;
use tonic::Code;

use crate::access::TABLES;
use crate::closing::{close, closing, consistent, dollars, granted};
use crate::harness::{Harness, PATIENCE, database, event, instant};
use crate::hostile::{Raw, token_for};
use crate::money::Shop;
use crate::subscriptions::{approved, bought, get, refused, trial};

/// What every text that tells of the customer holds.
const CANARY: &str = "Kanarienvogel";
/// What is sent in every text field of every method.
const EVERYWHERE: &str = "Nachtigall";

/// The tables in which a word is found, whatever the type of its column. The sandbox's book stands for a
/// provider outside.
pub async fn found(h: &Harness, word: &str) -> Vec<String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT schemaname || '.' || tablename FROM pg_tables
         WHERE schemaname IN ('plan', 'billing', 'account', 'payments') AND tablename <> 'sandbox_book' ORDER BY 1",
    )
    .fetch_all(&h.db)
    .await
    .unwrap();
    assert!(40 < tables.len(), "every table is looked at");
    let mut with = Vec::new();
    for table in tables {
        let sql = format!(
            "SELECT EXISTS (SELECT FROM {table} it WHERE it::text ILIKE '%{word}%'
                            OR it::text LIKE '%' || encode('{word}', 'hex') || '%')"
        );
        let has: bool = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_one(&h.db)
            .await
            .unwrap();
        if has {
            with.push(table);
        }
    }
    with
}

/// What each service says of its places, by its schema.
pub const PLACES: [(&str, &[Personal]); 4] = [
    ("plan", ::plan::PLACES),
    ("billing", ::billing::PLACES),
    ("account", account_lifecycle::PLACES),
    ("payments", ::payments::PLACES),
];

/// The columns that may hold words, whatever their table.
async fn columns(db: &PgPool, schema: &str) -> BTreeSet<(String, String)> {
    let sql = "SELECT c.table_name::text, c.column_name::text
         FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
         WHERE table_schema::text = $1 AND t.table_type = 'BASE TABLE'
           AND (c.data_type IN ('text', 'character varying', 'character', 'json', 'jsonb', 'xml', 'bytea', 'USER-DEFINED')
                OR c.udt_name IN ('_text', '_varchar', '_bpchar', '_json', '_jsonb', '_xml', '_bytea'))";
    let rows: Vec<(String, String)> = sqlx::query_as(sql)
        .bind(schema)
        .fetch_all(db)
        .await
        .unwrap();
    rows.into_iter().collect()
}

/// The columns in which a word is found, with what the registry says of each.
pub async fn places_with(h: &Harness, word: &str) -> Vec<(String, Fate)> {
    let mut with = Vec::new();
    for (schema, places) in PLACES {
        for (table, column) in columns(&h.db, schema).await {
            let place = COMMON
                .iter()
                .chain(places)
                .find(|it| it.table == table && it.columns.contains(&column.as_str()));
            let sql = format!(
                "SELECT EXISTS (SELECT FROM {schema}.{table} it WHERE it.\"{column}\"::text ILIKE '%{word}%'
                                OR it.\"{column}\"::text LIKE '%' || encode('{word}', 'hex') || '%')"
            );
            let has: bool = sqlx::query_scalar(AssertSqlSafe(sql))
                .fetch_one(&h.db)
                .await
                .unwrap();
            if has {
                with.push((format!("{schema}.{table}.{column}"), place.unwrap().fate));
            }
        }
    }
    with
}

/// The files under a folder, but for its `mail`, in which a word is found. Mail that was sent is in its reader's
/// mailbox, which the folder stands for.
pub fn files_with(folder: &Path, word: &str) -> Vec<PathBuf> {
    let mut with = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("mail") {
            with.extend(files_with(&path, word));
        } else if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            if bytes
                .windows(word.len())
                .any(|it| it.eq_ignore_ascii_case(word.as_bytes()))
            {
                with.push(path);
            }
        }
    }
    with
}

/// Messages that would pass, each with the word in one of its text fields, wherever in it that is.
fn with_word(descriptor: &MessageDescriptor, real: &BTreeMap<&str, String>) -> Vec<DynamicMessage> {
    let whole = filled(descriptor, real);
    let mut all = Vec::new();
    for field in descriptor.fields() {
        let values = match field.kind() {
            _ if field.is_map() || field.name() == "request_id" => Vec::new(),
            Type::String => vec![Value::String(EVERYWHERE.to_owned())],
            Type::Message(inner) if inner.full_name() != "google.protobuf.Timestamp" => {
                let inner = with_word(&inner, real);
                inner.into_iter().map(Value::Message).collect()
            }
            _ => Vec::new(),
        };
        for value in values {
            let value = if field.is_list() {
                Value::List(vec![value])
            } else {
                value
            };
            let mut message = whole.clone();
            message.set_field(&field, value);
            all.push(message);
        }
    }
    all
}

/// Sends the word in every text field of every mutating method, but for those of what does not end with
/// the account: the story makes these itself. Gives how many calls that were, and how many of them were accepted.
async fn sung_everywhere(h: &Harness, real: &BTreeMap<&str, String>) -> (u32, u32) {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
    let (mut calls, mut accepted) = (0, 0);
    for (service, name, table) in TABLES {
        let raw = Raw::connect(h.urls.of(service)).await;
        for method in pool.get_service_by_name(name).unwrap().methods() {
            let input = method.input();
            let by_hand = ["CreateAccount", "CreateUser", "UpdateUser"].contains(&method.name());
            if by_hand || input.get_field_by_name("request_id").is_none() {
                continue;
            }
            let row = table.iter().find(|row| row.method == method.name());
            let token = token_for(h, row.unwrap());
            let path = format!("/{name}/{}", method.name());
            for mut message in with_word(&input, real) {
                message.set_field_by_name("request_id", Value::String(request_id()));
                calls += 1;
                let answer = raw.call(&path, Some(&token), message.encode_to_vec()).await;
                accepted += u32::from(answer.is_ok());
            }
        }
    }
    (calls, accepted)
}

pub async fn receipt(h: &Harness, id: &str) -> Result<account::DeletionReceipt, tonic::Status> {
    let request = account::GetDeletionReceiptRequest {
        account_id: id.to_owned(),
    };
    let answer = h.customer().account.get_deletion_receipt(request).await?;
    Ok(answer.into_inner().deletion_receipt.unwrap())
}

/// Writes the canary wherever a customer of `global` can, or an operator for it.
async fn sung(shop: &Shop, id: &str, sub: &str) {
    let h = &shop.h;
    let mut customer = h.customer().account;
    for of in [id, sub] {
        customer
            .create_resource(account::CreateResourceRequest {
                account_id: of.to_owned(),
                kind_code: "FLOW".to_owned(),
                sid: format!("FW{CANARY}"),
                display_name: CANARY.to_owned(),
                document: format!("{{\"greeting\": \"{CANARY}\"}}"),
                request_id: request_id(),
            })
            .await
            .unwrap();
        customer
            .create_ticket(account::CreateTicketRequest {
                account_id: of.to_owned(),
                channel_code: "EMAIL".to_owned(),
                priority_code: "P3".to_owned(),
                subject: format!("My name is {CANARY}"),
                request_id: request_id(),
            })
            .await
            .unwrap();
    }
    customer
        .update_billing_details(account::UpdateBillingDetailsRequest {
            account_id: id.to_owned(),
            billing_details: Some(account::BillingDetails {
                recipient_name: format!("{CANARY} Ltd"),
                address: format!("1 {CANARY} Road"),
                country_code: "US".to_owned(),
                tax_id: CANARY.to_owned(),
                email: format!("{CANARY}@example.com"),
                ..account::BillingDetails::default()
            }),
            request_id: request_id(),
            ..account::UpdateBillingDetailsRequest::default()
        })
        .await
        .unwrap();
    let mut operator = h.operator.account.clone();
    let reason = SuspensionReason::Fraud.into();
    operator
        .suspend_account(account::SuspendAccountRequest {
            account_id: id.to_owned(),
            suspension_reason: reason,
            note: format!("a call of {CANARY}"),
            request_id: request_id(),
        })
        .await
        .unwrap();
    operator
        .reinstate_account(account::ReinstateAccountRequest {
            account_id: id.to_owned(),
            suspension_reason: reason,
            note: format!("{CANARY} explained it"),
            request_id: request_id(),
        })
        .await
        .unwrap();
    let lot = billing::GrantCreditRequest {
        account_id: id.to_owned(),
        kind: billing::lot::Kind::Promo.into(),
        amount: Some(Amount {
            currency_code: "USD".to_owned(),
            amount: "3.00".to_owned(),
        }),
        reason: format!("for {CANARY}"),
        request_id: request_id(),
        ..billing::GrantCreditRequest::default()
    };
    let mut biller = h.operator.billing.clone();
    let lot = biller.grant_credit(lot).await.unwrap().into_inner().lot;
    biller
        .void_credit(billing::VoidCreditRequest {
            account_id: id.to_owned(),
            lot_id: lot.unwrap().lot_id,
            reason: format!("{CANARY} has it twice"),
            request_id: request_id(),
            ..billing::VoidCreditRequest::default()
        })
        .await
        .unwrap();
    let used = event(
        &format!("call of {CANARY}"),
        sub,
        "2026-03-01T12:00:00Z",
        "10.00",
    );
    h.record(vec![used]).await.unwrap();
}

async fn named(h: &Harness, profile: &str) -> String {
    let request = account::CreateAccountRequest {
        profile_code: profile.to_owned(),
        display_name: CANARY.to_owned(),
        owner_user_id: h.owner.clone(),
        r#type: account::account::Type::Full.into(),
        request_id: request_id(),
        ..account::CreateAccountRequest::default()
    };
    let made = h.operator.account.clone().create_account(request).await;
    made.unwrap().into_inner().account.unwrap().account_id
}

#[tokio::test]
async fn req_047_every_column_that_may_hold_words_has_one_fate_in_the_registry() {
    let (database, _) = database().await;
    let db = PgPool::connect(&database.url("postgres")).await.unwrap();
    for (schema, places) in PLACES {
        let mut named = BTreeSet::new();
        for place in COMMON.iter().chain(places) {
            for column in place.columns {
                let new = named.insert((place.table.to_owned(), (*column).to_owned()));
                assert!(new, "{schema}.{}.{column}: two fates", place.table);
                match place.fate {
                    Fate::Deleted(_) => {}
                    Fate::Emptied(_, to) => {
                        let set = format!("{column} = ");
                        assert!(to.contains(&set), "{schema}.{}: {to}", place.table);
                    }
                    Fate::Kept(why) => {
                        let by = ["REQ-", "R32", "outside"];
                        let said = by.iter().any(|it| why.contains(it));
                        assert!(said, "{schema}.{}: {why}", place.table);
                    }
                    Fate::ByRule(why) | Fate::Impersonal(why) => assert!(!why.is_empty()),
                }
            }
        }
        assert_eq!(named, columns(&db, schema).await, "{schema}");
    }
}

#[tokio::test]
async fn req_047_req_052_req_070_thirty_days_later_nothing_tells_of_the_customer_and_the_books_stay()
 {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = named(h, "global").await;
    let sub = h.subaccount(&id).await;
    sung(&shop, &id, &sub).await;
    // Another, with a word in every field of every method.
    let swept = h.account().await;
    shop.card(&swept, "tok_ok").await;
    let purchase = account::CreditPurchase {
        amount: dollars("20.00"),
        payment_method_id: String::new(),
    };
    bought(h, &h.customer(), &swept, Kind::CreditPurchase(purchase))
        .await
        .unwrap();
    let real = BTreeMap::from([
        ("account_id", swept.clone()),
        ("user_id", h.owner.clone()),
        ("owner_user_id", h.owner.clone()),
        ("invoice_id", h.invoices(&swept).await.remove(0).invoice_id),
    ]);
    let (calls, accepted) = sung_everywhere(h, &real).await;
    println!("{calls} calls with the word, {accepted} accepted");
    assert!(100 < calls && 0 < accepted, "{accepted} of {calls}");
    // Each answer is reached by the account that it is about, also where its request names none.
    for (schema, _) in PLACES {
        let sql = format!(
            "SELECT DISTINCT method FROM {schema}.requests WHERE response IS NOT NULL AND root_id IS NULL"
        );
        let without: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_all(&h.db)
            .await
            .unwrap();
        let of_none = ["ActivateCatalogue", "ImportCatalogue"];
        assert!(
            without.iter().all(|it| of_none.contains(&it.as_str())),
            "{schema}: {without:?}"
        );
    }
    shop.card(&id, &format!("tok_ok_{CANARY}")).await;
    let purchase = account::CreditPurchase {
        amount: dollars("80.00"),
        payment_method_id: String::new(),
    };
    bought(h, &h.customer(), &id, Kind::CreditPurchase(purchase))
        .await
        .unwrap();
    granted(h, &id, billing::lot::Kind::Promo, "5.00").await;
    let invoice = h.invoices(&id).await.remove(0);

    // Refused for what is open, and not told of before it has happened.
    assert_eq!(
        refused(receipt(h, &id).await),
        (Code::NotFound, "DELETION_RECEIPT_NOT_FOUND".to_owned())
    );
    let erase = proto::plan::v1::EraseAccountRequest {
        account_id: id.clone(),
        request_id: request_id(),
    };
    let mut plan = shop.seller.plan.clone();
    assert_eq!(
        refused(plan.erase_account(erase).await).1,
        "ACCOUNT_NOT_CLOSED"
    );
    let erase = billing::EraseAccountRequest {
        account_id: id.clone(),
        request_id: request_id(),
    };
    let mut seller = shop.seller.billing.clone();
    assert_eq!(
        refused(seller.erase_account(erase).await).1,
        "ACCOUNT_NOT_CLOSED"
    );

    h.advance("2026-05-01T10:00:00Z").await;
    close(&h.customer(), &id).await.unwrap();
    close(&h.customer(), &swept).await.unwrap();
    // An answer of later is younger than the thirty days that answers are kept for.
    h.advance("2026-05-11T10:00:00Z").await;
    let again = closing(&id, Way::DeleteAllDataAndSettings);
    let mut customer = h.customer().account;
    let told = customer.close_account(again.clone()).await.unwrap();
    let told = told.into_inner().account.unwrap();
    assert_eq!(told.display_name, CANARY);
    h.advance("2026-05-31T09:59:59Z").await;
    let before = found(h, CANARY).await;
    for table in [
        "account.accounts",
        "account.billing_details",
        "account.requests",
        "account.resources",
        "account.tickets",
        "account.transitions",
        "billing.lots",
        "billing.recipients",
        "billing.usage_events",
        "billing.voided_credits",
        "payments.methods",
    ] {
        assert!(before.contains(&table.to_owned()), "{table} of {before:?}");
    }
    let books =
        "SELECT count(*) + coalesce(sum(amount_micros), 0)::bigint FROM billing.ledger_entries";
    let kept = h.count(books).await;
    let mail = "SELECT count(*) FROM account.notifications WHERE email <> '' OR facts <> '[]'";
    assert_ne!(h.count(mail).await, 0);

    h.advance("2026-05-31T10:00:00Z").await;
    // Nothing is left but what the registry says a requirement keeps; of what the story wrote, nothing at all.
    assert_eq!(found(h, CANARY).await, Vec::<String>::new());
    let left = places_with(h, EVERYWHERE).await;
    let is_kept = |(_, fate): &(String, Fate)| matches!(fate, Fate::Kept(_));
    assert!(left.iter().all(is_kept), "{left:?}");
    for word in [CANARY, EVERYWHERE] {
        let files = files_with(&h.suite.settings.folder, word);
        assert_eq!(files, Vec::<PathBuf>::new());
    }
    let told = customer.close_account(again).await.unwrap().into_inner();
    assert_eq!(told.account.unwrap().display_name, "", "not from memory");
    assert_eq!(h.count(mail).await, 0);
    assert_eq!(h.count(books).await, kept, "the ledger is as it was");
    consistent(h).await;
    let refunds = payments::ListRefundsRequest {
        account_id: id.clone(),
        ..payments::ListRefundsRequest::default()
    };
    let refunds = h.operator.payments.clone().list_refunds(refunds).await;
    assert_eq!(refunds.unwrap().into_inner().refunds.len(), 1);
    // The recipient is sealed; everything else that the invoice says is kept.
    let mut nameless = invoice.clone();
    if let Some(said) = &mut nameless.particulars {
        said.recipient = None;
    }
    assert_eq!(h.invoices(&id).await, [nameless]);
    let pdf = billing::RenderInvoiceRequest {
        invoice_id: invoice.invoice_id,
        ..billing::RenderInvoiceRequest::default()
    };
    h.operator
        .billing
        .clone()
        .render_invoice(pdf)
        .await
        .unwrap();

    // The receipt says what each service did; the owner's login and the account's history are there.
    let told = receipt(h, &id).await.unwrap();
    assert_eq!(told.erased_account_ids, [id.clone(), sub.clone()]);
    assert_eq!(
        told.erase_time,
        Some(timestamp(instant("2026-05-31T10:00:00Z")))
    );
    let services: Vec<_> = told.parts.iter().map(|it| it.service.as_str()).collect();
    assert_eq!(
        services,
        ["plan", "billing", "payments", "account-lifecycle"]
    );
    assert!(
        told.parts
            .iter()
            .all(|it| !it.erased.is_empty() && !it.kept.is_empty())
    );
    assert!(
        told.parts[1]
            .kept
            .iter()
            .any(|it| it.contains("2034-05-01"))
    );
    assert_eq!(receipt(h, &sub).await.unwrap(), told);
    let gone = get(h, &id).await;
    assert_eq!(gone.display_name, "");
    assert_eq!(gone.closing.unwrap().erase_time, told.erase_time);
    let user = account::GetUserRequest {
        user_id: h.owner.clone(),
    };
    let user = h.customer().account.get_user(user).await.unwrap();
    assert_eq!(user.into_inner().user.unwrap().email, "owner@example.com");
    assert_ne!(h.account().await, id, "it makes new ones");
    // Another is told what it would be of an account that does not exist.
    let stranger = h.user("stranger").await;
    let request = account::GetDeletionReceiptRequest {
        account_id: id.clone(),
    };
    let other = h
        .person(&stranger)
        .account
        .get_deletion_receipt(request)
        .await;
    assert_eq!(
        refused(other),
        (Code::NotFound, "ACCOUNT_NOT_FOUND".to_owned())
    );

    // Whom its invoices went to can be opened for eight years, and by nobody afterwards.
    let database = h.suite.database.url("billing_service");
    let opened = ::billing::recipients(&database, &id).await.unwrap();
    assert_eq!(opened.len(), 1);
    assert!(opened[0].1.contains(&format!("{CANARY} Ltd")));
    h.advance("2034-05-01T09:59:59Z").await;
    assert_eq!(
        ::billing::recipients(&database, &id).await.unwrap().len(),
        1
    );
    h.advance("2034-05-01T10:00:00Z").await;
    assert!(
        ::billing::recipients(&database, &id)
            .await
            .unwrap()
            .is_empty()
    );
    let left = "SELECT (SELECT count(*) FROM billing.sealed_recipients) + (SELECT count(*) FROM billing.retention_keys)";
    assert_eq!(h.count(left).await, 0);
}

#[tokio::test]
async fn req_047_a_trial_with_its_documents_and_numbers_is_deleted_and_other_accounts_are_not() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let (id, other) = (trial(&shop, "tok_ok").await, trial(&shop, "tok_ok_b").await);
    approved(h, &id).await;
    approved(h, &other).await;
    let mut customer = h.customer().account;
    for of in [&id, &other] {
        customer
            .create_whitelisted_number(account::CreateWhitelistedNumberRequest {
                account_id: of.clone(),
                number: "+6598765432".to_owned(),
                request_id: request_id(),
            })
            .await
            .unwrap();
        customer
            .create_dlt_registration(account::CreateDltRegistrationRequest {
                account_id: of.clone(),
                country_code: "IN".to_owned(),
                entity_id: CANARY.to_owned(),
                headers: vec!["KANARI".to_owned()],
                request_id: request_id(),
            })
            .await
            .unwrap();
    }
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
    customer.close_account(request).await.unwrap();
    h.advance("2026-04-01T12:00:00Z").await;
    receipt(h, &id).await.unwrap();
    assert_eq!(refused(receipt(h, &other).await).0, Code::NotFound);
    for (sql, left) in [
        ("SELECT count(*) FROM account.whitelisted_numbers", 1),
        ("SELECT count(*) FROM account.dlt_registrations", 1),
        (
            "SELECT count(*) FROM account.kyc_submissions WHERE legal_name <> ''",
            1,
        ),
        (
            "SELECT count(*) FROM account.kyc_submissions WHERE documents <> '[]'",
            1,
        ),
        ("SELECT count(*) FROM account.kyc_submissions", 2),
    ] {
        assert_eq!(h.count(sql).await, left, "{sql}");
    }
}

#[tokio::test]
async fn req_070_a_refund_under_way_keeps_what_paying_it_out_needs_until_it_has_ended() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = h.account().await;
    shop.card(&id, "tok_refund_expired").await;
    let purchase = account::CreditPurchase {
        amount: dollars("80.00"),
        payment_method_id: String::new(),
    };
    bought(h, &h.customer(), &id, Kind::CreditPurchase(purchase))
        .await
        .unwrap();
    close(&h.customer(), &id).await.unwrap();
    h.advance("2026-04-02T00:00:00Z").await;
    let told = receipt(h, &id).await.unwrap();
    let kept = &told.parts[2].kept;
    assert!(
        kept.iter().any(|it| it.contains("refunds in progress")),
        "{kept:?}"
    );
    assert!(told.parts[1].kept.iter().any(|it| it.contains("refund RF")));
    let shown = "SELECT count(*) FROM payments.methods WHERE provider_token <> ''";
    assert_eq!(h.count(shown).await, 1);
    // A person has made the transfer: nothing is needed any more.
    let request = payments::ListRefundsRequest {
        account_id: id.clone(),
        state: payments::MovementState::Parked.into(),
        ..payments::ListRefundsRequest::default()
    };
    let mut client = h.operator.payments.clone();
    let parked = client.list_refunds(request).await.unwrap().into_inner();
    let request = payments::ResolveMovementRequest {
        account_id: id.clone(),
        movement_id: parked.refunds[0].refund_id.clone(),
        outcome: payments::resolve_movement_request::Outcome::Moved.into(),
        amount: dollars("80.00"),
        provider_movement_id: "UTR-1".to_owned(),
        settle_time: Some(timestamp(instant("2026-04-01T10:00:00Z"))),
        note: "paid".to_owned(),
        request_id: request_id(),
    };
    client.resolve_movement(request).await.unwrap();
    let begun = std::time::Instant::now();
    while h.count(shown).await != 0 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_deletion_killed_anywhere_is_finished_with_one_receipt() {
    let mut shop = Shop::start().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let id = named(&shop.h, "global").await;
        close(&shop.h.customer(), &id).await.unwrap();
        ids.push(id);
    }
    for victim in ["billing", "payments", "account-lifecycle"] {
        shop.h.suite.kill(victim).await;
        if victim == "account-lifecycle" {
            shop.h.suite.spawn(victim, &[]).unwrap();
        }
    }
    // It meets services that are away, then they come back while it is being done.
    shop.h.suite.wait_for("account-lifecycle").await.unwrap();
    shop.h.suite.spawn("billing", &[]).unwrap();
    shop.h.suite.spawn("payments", &[]).unwrap();
    for victim in ["billing", "payments"] {
        shop.h.suite.wait_for(victim).await.unwrap();
    }
    shop.h.set_clock("2026-04-02T00:00:00Z").await;
    for n in 0..4_u64 {
        tokio::time::sleep(std::time::Duration::from_millis(40 * n)).await;
        shop.h.suite.kill("account-lifecycle").await;
        shop.h.suite.spawn("account-lifecycle", &[]).unwrap();
        shop.h.suite.wait_for("account-lifecycle").await.unwrap();
    }
    let begun = std::time::Instant::now();
    for id in &ids {
        loop {
            if let Ok(told) = receipt(&shop.h, id).await {
                assert_eq!(told.parts.len(), 4);
                break;
            }
            assert!(begun.elapsed().as_secs() < 130, "of a lease each");
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }
    assert_eq!(found(&shop.h, CANARY).await, Vec::<String>::new());
    let erased = "SELECT count(*) FROM account.transitions WHERE transition_code = 'ERASED'";
    assert_eq!(shop.h.count(erased).await, 3);
}

#[tokio::test]
async fn changes_of_accounts_are_watched_in_order_from_a_token_on() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = h.account().await;
    close(&h.customer(), &id).await.unwrap();
    let token = h.suite.keys.service("billing").unwrap();
    let billing = perdiem::connect::Clients::new(&h.urls, &token).unwrap();
    let watched = async |resume: String| {
        let request = account::WatchAccountsRequest {
            resume_token: resume,
        };
        let stream = billing.account.clone().watch_accounts(request).await;
        let mut stream = stream.unwrap().into_inner();
        let mut told = Vec::new();
        loop {
            let wait = std::time::Duration::from_secs(20);
            let news = tokio::time::timeout(wait, stream.message()).await;
            let news = news.expect("news").unwrap().unwrap();
            let transition = news.transition.unwrap();
            if transition.account_id == id {
                told.push((transition.transition_code, news.resume_token.clone()));
                assert_eq!(news.account.unwrap().account_id, id);
            }
            if told.last().is_some_and(|(code, _)| code == "CLOSED") {
                return told;
            }
        }
    };
    let all = watched(String::new()).await;
    let codes: Vec<_> = all.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!((codes[0], codes[codes.len() - 1]), ("CREATED", "CLOSED"));
    let rest = watched(all[0].1.clone()).await;
    assert_eq!(rest, all[1..]);
    let by_person = h.customer().account;
    let request = account::WatchAccountsRequest::default();
    assert!(by_person.clone().watch_accounts(request).await.is_err());
}

#[tokio::test]
async fn req_052_a_user_that_is_deleted_takes_the_answers_about_them_along() {
    let h = Harness::start().await;
    let user = h.user("rotkehlchen").await;
    assert_eq!(
        found(&h, "rotkehlchen").await,
        ["account.requests", "account.users"]
    );
    let request = account::DeleteUserRequest {
        user_id: user,
        request_id: request_id(),
    };
    h.operator
        .account
        .clone()
        .delete_user(request)
        .await
        .unwrap();
    assert_eq!(found(&h, "rotkehlchen").await, Vec::<String>::new());
}

#[tokio::test]
async fn req_052_a_user_that_is_deleted_leaves_no_former_address() {
    // No mail is delivered, so that what tells the former address of the change keeps it.
    let h = Harness::start_with(&[("SMTP_URL", "smtp://127.0.0.1:1")]).await;
    let (id, user) = (h.account().await, h.user("zaunkoenig").await);
    let request = account::GrantRoleRequest {
        account_id: id,
        user_id: user.clone(),
        role_code: "DEVELOPER".to_owned(),
        request_id: request_id(),
    };
    h.customer().account.grant_role(request).await.unwrap();
    let request = account::UpdateUserRequest {
        user_id: user.clone(),
        email: "dompfaff@example.com".to_owned(),
        request_id: request_id(),
        ..account::UpdateUserRequest::default()
    };
    let mut person = h.person(&user).customers;
    person.update_user(request).await.unwrap();
    // Nor does a new address that awaits its code.
    assert_eq!(
        found(&h, "dompfaff").await,
        [
            "account.email_changes",
            "account.notifications",
            "account.requests"
        ]
    );
    let code: String = sqlx::query_scalar(
        "SELECT secret FROM account.notifications WHERE kind_code = 'EMAIL_CONFIRM'",
    )
    .fetch_one(&h.db)
    .await
    .unwrap();
    let request = account::ConfirmEmailRequest {
        user_id: user.clone(),
        code,
        request_id: request_id(),
    };
    person.confirm_email(request).await.unwrap();
    let request = account::UpdateUserRequest {
        user_id: user.clone(),
        email: "stieglitz@example.com".to_owned(),
        request_id: request_id(),
        ..account::UpdateUserRequest::default()
    };
    person.update_user(request).await.unwrap();
    let kept = "SELECT count(*) FROM account.notifications WHERE email = 'zaunkoenig@example.com'";
    assert_eq!(h.count(kept).await, 1);
    let request = account::DeleteUserRequest {
        user_id: user,
        request_id: request_id(),
    };
    let mut operator = h.operator.account.clone();
    operator.delete_user(request).await.unwrap();
    for word in ["zaunkoenig", "dompfaff", "stieglitz"] {
        assert_eq!(found(&h, word).await, Vec::<String>::new(), "{word}");
    }
}
