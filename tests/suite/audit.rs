//! The audit of the four services: every mutation has its entry, and whoever edits, deletes or cuts off is found.

use std::collections::BTreeSet;

use proto::account::v1 as account;
use proto::account::v1::create_order_request::Kind;
use proto::{billing::v1 as billing, payments::v1 as payments, plan::v1 as plan};
use sqlx::{AssertSqlSafe, Executor as _};

use crate::closing::{close, dollars, granted};
use crate::harness::{Harness, PATIENCE};
use crate::money::Shop;
use crate::subscriptions::bought;

const SCHEMAS: [&str; 4] = ["plan", "billing", "account", "payments"];

/// Whether the chain of an account is whole in a service, the first entry that is not, and how many there are.
async fn verified(h: &Harness, schema: &str, id: &str) -> (bool, i64, i64) {
    let account_id = id.to_owned();
    let operator = h.operator.clone();
    macro_rules! ask {
        ($client:expr, $module:ident) => {{
            let request = $module::VerifyAuditRequest { account_id };
            let found = $client.clone().verify_audit(request).await;
            let found = found.unwrap().into_inner();
            (found.valid, found.broken_sequence, found.entry_count)
        }};
    }
    match schema {
        "plan" => ask!(operator.plan, plan),
        "billing" => ask!(operator.billing, billing),
        "account" => ask!(operator.account, account),
        _ => ask!(operator.payments, payments),
    }
}

/// An account about which something was done in each service.
async fn lived(shop: &Shop) -> String {
    let h = &shop.h;
    let id = h.account().await;
    shop.card(&id, "tok_ok").await;
    let purchase = account::CreditPurchase {
        amount: dollars("80.00"),
        payment_method_id: String::new(),
    };
    bought(h, &h.customer(), &id, Kind::CreditPurchase(purchase))
        .await
        .unwrap();
    h.change("2026-03-02T00:00:00Z", &id, "business").await;
    granted(h, &id, billing::lot::Kind::Promo, "5.00").await;
    id
}

async fn entries(h: &Harness, id: &str) -> Vec<account::AuditEntry> {
    let request = account::ListAuditEntriesRequest {
        account_id: id.to_owned(),
        page_size: 500,
        ..account::ListAuditEntriesRequest::default()
    };
    let listed = h.customer().account.list_audit_entries(request).await;
    listed.unwrap().into_inner().audit_entries
}

#[tokio::test]
async fn every_mutation_has_an_entry_with_who_did_what_and_what_it_changed() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = lived(&shop).await;
    close(&h.customer(), &id).await.unwrap();
    for schema in SCHEMAS {
        let (valid, broken, count) = verified(h, schema, &id).await;
        assert!(valid && broken == 0 && 0 < count, "{schema}");
        // Each answer that is given again to a repetition has its entry; so has each step of a saga.
        let sql = format!(
            "SELECT method FROM {schema}.requests r WHERE response IS NOT NULL AND NOT EXISTS (
                SELECT FROM {schema}.audit_entries a
                WHERE (a.method, a.request_id, a.actor) = (r.method, r.request_id, r.caller))"
        );
        let without: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_all(&h.db)
            .await
            .unwrap();
        assert_eq!(without, Vec::<String>::new(), "{schema}");
    }
    let told = entries(h, &id).await;
    let owner = format!("person:{}", h.owner);
    let of = |method: &str| told.iter().find(|it| it.method == method).unwrap();
    assert_eq!(of("CloseAccount").actor, owner);
    assert_eq!(of("CreateAccount").actor, "operator:local");
    // Something new has no before, and what is changed has both.
    let made = of("CreateOrder");
    assert_eq!((made.before_hash.as_str(), made.after_hash.len()), ("", 64));
    let confirmed = of("ConfirmOrder");
    assert_eq!(
        (confirmed.before_hash.len(), confirmed.after_hash.len()),
        (64, 64)
    );
    assert_ne!(confirmed.before_hash, confirmed.after_hash);
    // Down the call graph it is known on whose behalf.
    let behalf: Vec<(String, String)> = sqlx::query_as(
        "SELECT DISTINCT actor, on_behalf_of FROM plan.audit_entries WHERE method = 'ApplyChange'
         UNION SELECT DISTINCT actor, on_behalf_of FROM billing.audit_entries WHERE method IN ('CollectOrder', 'GrantCredit')
         ORDER BY 1",
    )
    .fetch_all(&h.db)
    .await
    .unwrap();
    assert_eq!(
        behalf,
        [
            ("operator:local".to_owned(), String::new()),
            ("service:account-lifecycle".to_owned(), owner)
        ]
    );
    // A stranger sees none, and what is refused leaves none.
    let stranger = h.person(&h.user("stranger").await);
    let request = account::VerifyAuditRequest {
        account_id: id.clone(),
    };
    assert!(
        stranger
            .account
            .clone()
            .verify_audit(request)
            .await
            .is_err()
    );
    let before = entries(h, &id).await.len();
    assert!(h.quote(&h.customer(), &id, "production").await.is_err());
    assert_eq!(entries(h, &id).await.len(), before);
}

#[tokio::test]
async fn an_edit_a_deletion_an_exchange_and_a_cut_tail_are_found_where_they_are() {
    let mut shop = Shop::start().await;
    let id = lived(&shop).await;
    let uuid = id.trim_start_matches("AC").to_owned();
    let mut found = 0;
    for schema in SCHEMAS {
        let (_, _, count) = verified(&shop.h, schema, &id).await;
        let of = format!("{schema}.audit_entries WHERE root_id = '{uuid}' AND sequence");
        let copy = format!("CREATE TABLE kept AS SELECT * FROM {of} > 0");
        shop.h.db.execute(AssertSqlSafe(copy)).await.unwrap();
        let table = format!("{schema}.audit_entries");
        for sequence in 1..=count {
            let set = |change: &str| {
                format!(
                    "UPDATE {table} SET {change} WHERE root_id = '{uuid}' AND sequence = {sequence}"
                )
            };
            let edits = [
                set("actor = actor || 'x'"),
                set("on_behalf_of = 'person:nobody'"),
                set("method = 'GrantCredit2'"),
                set("request_id = gen_random_uuid()"),
                set("request_hash = sha256('x')"),
                set("after_hash = sha256('x')"),
                set("before_hash = sha256('x')"),
                set("created_at = created_at - interval '1 microsecond'"),
                set("entry_hash = sha256('x')"),
                format!("DELETE FROM {of} = {sequence}"),
            ];
            for edit in edits {
                shop.h
                    .db
                    .execute(AssertSqlSafe(edit.clone()))
                    .await
                    .unwrap();
                let (valid, broken, _) = verified(&shop.h, schema, &id).await;
                assert!(!valid && broken == sequence, "{schema}: {edit}: {broken}");
                found += 1;
                let again = format!(
                    "WITH gone AS (DELETE FROM {of} = {sequence}) SELECT 1; INSERT INTO {table} SELECT * FROM kept
                     WHERE sequence = {sequence}"
                );
                for sql in again.split(';') {
                    shop.h
                        .db
                        .execute(AssertSqlSafe(sql.to_owned()))
                        .await
                        .unwrap();
                }
            }
        }
        assert!(verified(&shop.h, schema, &id).await.0, "put right again");
        cut(&mut shop, schema, (&uuid, count)).await;
        assert_eq!(
            verified(&shop.h, schema, &id).await,
            (false, count, count - 1)
        );
        found += 1;
        shop.h.db.execute("DROP TABLE kept").await.unwrap();
    }
    println!("{found} changes found");
    assert!(100 < found);
}

/// Cuts off the tail of an anchored chain and the head that knows of it, as somebody who may change the database does: the
/// file outside knows.
async fn cut(shop: &mut Shop, schema: &str, (uuid, count): (&str, i64)) {
    let service = if schema == "account" {
        "account-lifecycle"
    } else {
        schema
    };
    // A service that starts writes the ends of its chains to the file.
    shop.h.suite.kill(service).await;
    shop.h.suite.spawn(service, &[]).unwrap();
    shop.h.suite.wait_for(service).await.unwrap();
    let begun = std::time::Instant::now();
    let anchored =
        format!("SELECT anchored_sequence FROM {schema}.audit_heads WHERE root_id = '{uuid}'");
    loop {
        let at: i64 = sqlx::query_scalar(AssertSqlSafe(anchored.clone()))
            .fetch_one(&shop.h.db)
            .await
            .unwrap();
        if at == count {
            break;
        }
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let last = count - 1;
    let of = format!("{schema}.audit_entries WHERE root_id = '{uuid}' AND sequence");
    for sql in [
        format!("DELETE FROM {of} > {last}"),
        format!(
            "UPDATE {schema}.audit_heads SET sequence = {last}, anchored_sequence = {last}, entry_hash = coalesce(
                (SELECT entry_hash FROM {of} = {last}), '') WHERE root_id = '{uuid}'"
        ),
    ] {
        shop.h.db.execute(AssertSqlSafe(sql)).await.unwrap();
    }
}

#[tokio::test]
async fn what_concerns_no_account_has_a_chain_that_is_verified_and_anchored_as_the_others() {
    let mut shop = Shop::start().await;
    // A catalogue was imported, and a user created; billing makes a run.
    perdiem::run::create(&shop.h.operator, "SUPPORT", "2026-03", true)
        .await
        .unwrap();
    let nobody = "00000000-0000-0000-0000-000000000000";
    for schema in SCHEMAS {
        let (valid, broken, count) = verified(&shop.h, schema, "").await;
        assert!(valid && broken == 0 && 0 < count, "{schema}: {count}");
        for (change, sound) in [("actor || 'x'", false), ("rtrim(actor, 'x')", true)] {
            let edit = format!(
                "UPDATE {schema}.audit_entries SET actor = {change}
                 WHERE root_id = '{nobody}' AND sequence = {count}"
            );
            shop.h.db.execute(AssertSqlSafe(edit)).await.unwrap();
            let found = verified(&shop.h, schema, "").await;
            let expected = if sound {
                (true, 0, count)
            } else {
                (false, count, count - 1)
            };
            assert_eq!(found, expected, "{schema}");
        }
        cut(&mut shop, schema, (nobody, count)).await;
        assert_eq!(
            verified(&shop.h, schema, "").await,
            (false, count, count - 1),
            "{schema}"
        );
    }
    // It is nothing for customers.
    let request = account::VerifyAuditRequest::default();
    let asked = shop.h.customer().account.verify_audit(request).await;
    assert_eq!(crate::harness::reason(&asked.unwrap_err()), "INVALID_FIELD");
}

#[tokio::test]
async fn a_chain_still_verifies_when_the_account_is_deleted_and_its_key_is_gone() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = lived(&shop).await;
    close(&h.customer(), &id).await.unwrap();
    let keys = "SELECT array_agg(encode(key, 'hex')) FROM (
        SELECT key FROM plan.audit_heads UNION ALL SELECT key FROM billing.audit_heads
        UNION ALL SELECT key FROM account.audit_heads UNION ALL SELECT key FROM payments.audit_heads) it";
    let keys_now = async || -> BTreeSet<Option<String>> {
        let keys: Vec<Option<String>> = sqlx::query_scalar(keys).fetch_one(&h.db).await.unwrap();
        keys.into_iter().collect()
    };
    let before = keys_now().await;
    h.advance("2026-04-15T00:00:00Z").await;
    let after = keys_now().await;
    assert!(4 <= before.difference(&after).count(), "one a service");
    for schema in SCHEMAS {
        assert!(verified(h, schema, &id).await.0, "{schema}");
    }
}

#[tokio::test]
async fn the_database_keys_hashes_as_hmac_sha256_does() {
    let shop = Shop::start().await;
    lived(&shop).await;
    let h = &shop.h;
    for schema in SCHEMAS {
        let sql = format!(
            "SELECT h.key, r.request_hash, e.request_hash FROM {schema}.audit_entries e
             JOIN {schema}.audit_heads h USING (root_id)
             JOIN {schema}.requests r ON (r.caller, r.method, r.request_id) = (e.actor, e.method, e.request_id)"
        );
        let rows: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> = sqlx::query_as(AssertSqlSafe(sql))
            .fetch_all(&h.db)
            .await
            .unwrap();
        assert!(!rows.is_empty(), "{schema}");
        for (key, hash, keyed) in rows {
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
            assert!(ring::hmac::verify(&key, &hash, &keyed).is_ok(), "{schema}");
        }
    }
}
