//! A restore from a logical dump into another cluster: what happened after the dump is found, and nothing is paid twice.

use std::time::{Duration, Instant};

use cluster::{Cluster, Durability};
use perdiem::connect::{request_id, timestamp};
use perdiem::suite::Database;
use proto::billing::v1::collection::State;
use proto::payments::v1 as payments;
use sqlx::PgPool;
use tonic::Code;

use crate::harness::{Harness, cluster, instant, reason};
use crate::money::{Shop, cleared, credits};

/// What the provider has, which no restore of ours undoes.
async fn book(db: &PgPool) -> Vec<u8> {
    let mut db = db.acquire().await.unwrap();
    let mut out = db
        .copy_out_raw("COPY payments.sandbox_book TO STDOUT")
        .await
        .unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = futures::StreamExt::next(&mut out).await {
        bytes.extend_from_slice(&piece.unwrap());
    }
    bytes
}

async fn put_book(db: &PgPool, bytes: Vec<u8>) {
    let mut db = db.acquire().await.unwrap();
    sqlx::query("DELETE FROM payments.sandbox_book")
        .execute(&mut *db)
        .await
        .unwrap();
    let mut copy = db
        .copy_in_raw("COPY payments.sandbox_book FROM STDIN")
        .await
        .unwrap();
    copy.send(bytes).await.unwrap();
    copy.finish().await.unwrap();
}

/// The differences between `payments` and the provider's book, by kind, and whether each was corrected.
async fn compared(h: &Harness, apply: bool) -> Vec<(String, bool)> {
    let request = payments::ReconcileRequest {
        start_time: Some(timestamp(instant("2026-03-01T00:00:00Z"))),
        end_time: Some(timestamp(instant("2026-03-09T00:00:00Z"))),
        apply,
        request_id: request_id(),
        ..payments::ReconcileRequest::default()
    };
    let mut client = h.operator.payments.clone();
    let answer = client.reconcile(request).await.unwrap().into_inner();
    let told = answer.differences.iter();
    told.map(|it| (it.kind().as_str_name().to_owned(), it.mended))
        .collect()
}

/// Waits until a query counts one.
async fn until_one(h: &Harness, sql: &'static str) {
    let begun = Instant::now();
    while h.count(sql).await != 1 {
        assert!(begun.elapsed() < Duration::from_mins(2), "{sql}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Collections that nobody has asked `payments` for yet.
const UNASKED: &str = "SELECT count(*) FROM billing.collections WHERE state = 'CREATED'";
/// Positions in streams that were stored in the history of this cluster.
const OWN_TOKENS: &str = "SELECT count(*) FROM billing.watch_positions
    WHERE source = 'payments.movements' AND split_part(resume_token, '/', 4)
          LIKE (SELECT system_identifier::text FROM pg_control_system()) || '-%'";
const BOOKED: &str = "SELECT count(*) FROM payments.sandbox_book";

#[tokio::test]
async fn after_a_restore_from_a_dump_charges_are_found_and_none_is_made_twice() {
    let mut shop = Shop::start().await;
    let settles = shop.customer("IN", "MH", "tok_slow_ok").await;
    let pays = shop.customer("IN", "MH", "tok_ok_visa").await;
    let cut = shop.customer("IN", "MH", "tok_ok_mastercard").await;
    let settling = shop.collect(&credits(&settles, "1000.00")).await.unwrap();
    assert_eq!(settling.state(), State::AwaitingSettlement);
    shop.collect(&credits(&pays, "1000.00")).await.unwrap();
    shop.balance_is(&pays, "1000.000000").await;
    shop.h.advance("2026-03-01T12:00:01Z").await;
    assert_eq!(shop.h.count(OWN_TOKENS).await, 1);

    // A charge is stored and its request not sent when the dump is made.
    assert!(shop.h.suite.kill("payments").await);
    let _ = shop.collect(&credits(&cut, "1000.00")).await;
    assert_eq!(shop.h.count(UNASKED).await, 1);
    let (source, folder) = cluster().await;
    let dump = source.dump(&shop.h.suite.database.name).unwrap();

    // What the dump does not have: that charge, a settlement, and an order.
    shop.h.suite.spawn("payments", &[]).unwrap();
    shop.h.suite.wait_for("payments").await.unwrap();
    sqlx::query(
        "UPDATE billing.collections SET try_at = clock_timestamp() WHERE state = 'CREATED'",
    )
    .execute(&shop.h.db)
    .await
    .unwrap();
    shop.balance_is(&cut, "1000.000000").await;
    shop.h.advance("2026-03-04T12:00:00Z").await;
    shop.until(&settling, State::Succeeded).await;
    let (_, before) = cleared(&shop.h).await;
    shop.collect(&credits(&pays, "1000.00")).await.unwrap();
    shop.balance_is(&pays, "2000.000000").await;
    let (_, after) = cleared(&shop.h).await;
    let bytes = book(&shop.h.db).await;
    let charges = shop.h.count(BOOKED).await;
    let Shop { h, .. } = shop;
    let home = h.suite.settings.folder.clone();
    h.suite.stop().await;

    let restored = Cluster::open(&folder.join("restored"), Durability::ThrownAway).unwrap();
    let server = restored.url("postgres", "postgres");
    cluster::provision(&server, "restored").await.unwrap();
    restored.restore("restored", &dump).unwrap();
    let database = Database::of(&restored, "restored");
    let db = PgPool::connect(&database.url("postgres")).await.unwrap();
    put_book(&db, bytes).await;
    // The request of the stored charge is due.
    sqlx::query(
        "UPDATE billing.collections SET try_at = clock_timestamp() WHERE state = 'CREATED'",
    )
    .execute(&db)
    .await
    .unwrap();
    db.close().await;

    // First it is only compared.
    let only = [("RECONCILE_ONLY", "true")];
    let place = (database.clone(), home.clone());
    let shop = Shop::of(Harness::on(place, &only, true).await);
    shop.h.set_clock("2026-03-04T12:00:00Z").await;
    let status = shop.collect(&credits(&pays, "1000.00")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(reason(&status), "RECONCILE_ONLY");
    until_one(&shop.h, OWN_TOKENS).await;
    let unknown_here = ("KIND_MISSING_HERE".to_owned(), false);
    let mut told = compared(&shop.h, true).await;
    // A look-up may have found the settlement before.
    told.retain(|it| *it != ("KIND_STATE".to_owned(), true));
    assert_eq!(told, [unknown_here.clone(), unknown_here.clone()]);
    shop.until(&settling, State::Succeeded).await;
    shop.balance_is(&settles, "1000.000000").await;
    assert_eq!(shop.h.count(UNASKED).await, 1, "no money is moved");
    assert_eq!(shop.h.count(BOOKED).await, charges);
    assert_eq!(shop.h.balance(&pays).await, "1000.000000");
    shop.h.suite.stop().await;

    // Released, it asks for the stored charge under the same reference, which the provider knows.
    let shop = Shop::of(Harness::on((database, home), &[], true).await);
    shop.balance_is(&cut, "1000.000000").await;
    assert_eq!(shop.h.count(UNASKED).await, 0);
    assert_eq!(shop.h.count(BOOKED).await, charges, "nothing is paid twice");
    assert_eq!(compared(&shop.h, false).await, [unknown_here]);
    let (clearing, booked) = cleared(&shop.h).await;
    assert_eq!(
        booked - clearing,
        after - before,
        "all but the order that was lost, which an operator is told of"
    );
    shop.h.suite.stop().await;
    restored.stop();
}
