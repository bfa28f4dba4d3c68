//! Every method has a row in its service's table of callers, and the table is kept.

use std::collections::BTreeSet;

use chassis::Access;
use prost_reflect::DescriptorPool;
use tonic::Code;

use crate::harness::Harness;
use crate::hostile::{Raw, token_for};

/// The services with their tables, by the name that the suite gives them.
pub const TABLES: [(&str, &str, &[Access]); 4] = [
    ("plan", "perdiem.plan.v1.PlanService", plan::ACCESS),
    (
        "billing",
        "perdiem.billing.v1.BillingService",
        billing::ACCESS,
    ),
    (
        "account-lifecycle",
        "perdiem.account.v1.AccountService",
        account_lifecycle::ACCESS,
    ),
    (
        "payments",
        "perdiem.payments.v1.PaymentsService",
        payments::ACCESS,
    ),
];

#[test]
fn every_method_has_exactly_one_row_and_says_whether_it_streams() {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
    for (_, name, table) in TABLES {
        let service = pool.get_service_by_name(name).unwrap();
        let declared: BTreeSet<_> = service
            .methods()
            .map(|it| {
                (
                    it.name().to_owned(),
                    it.is_client_streaming() || it.is_server_streaming(),
                )
            })
            .collect();
        let rows: BTreeSet<_> = table
            .iter()
            .map(|row| (row.method.to_owned(), row.streams))
            .collect();
        assert_eq!(declared, rows, "{name}");
        assert_eq!(rows.len(), table.len(), "{name}: a row twice");
        assert!(
            table.iter().all(|row| !row.who.is_empty()),
            "{name}: a row for nobody"
        );
    }
}

#[tokio::test]
async fn nobody_passes_without_a_row() {
    let h = Harness::start().await;
    let person = h.suite.keys.person(&h.user("someone").await).unwrap();
    let nobody = h.suite.keys.operator("nobody", &[]).unwrap();
    let stranger = h.suite.keys.service("stranger").unwrap();
    let mut cells = 0;
    for (service, name, table) in TABLES {
        let raw = Raw::connect(h.urls.of(service)).await;
        for row in table {
            let path = format!("/{name}/{}", row.method);
            let code = async |token: Option<&str>| {
                raw.call(&path, token, Vec::new())
                    .await
                    .err()
                    .map(|status| status.code())
            };
            assert_eq!(code(None).await, Some(Code::Unauthenticated), "{path}");
            assert_eq!(
                code(Some("forged.forged.forged")).await,
                Some(Code::Unauthenticated),
                "{path}"
            );
            assert_eq!(
                code(Some(&stranger)).await,
                Some(Code::PermissionDenied),
                "{path}"
            );
            if service != "account-lifecycle" {
                assert_eq!(
                    code(Some(&person)).await,
                    Some(Code::PermissionDenied),
                    "{path}: people enter at account-lifecycle"
                );
            }
            let any = row.who.contains(&chassis::Who::AnyOperator);
            if !any {
                assert_eq!(
                    code(Some(&nobody)).await,
                    Some(Code::PermissionDenied),
                    "{path}: an operator without role"
                );
            }
            let allowed = token_for(&h, row);
            assert!(
                !matches!(
                    code(Some(&allowed)).await,
                    Some(Code::PermissionDenied | Code::Unauthenticated)
                ),
                "{path}"
            );
            cells += 6;
        }
    }
    println!("{cells} cells of method and caller");
}

/// The matrix as people review it: every method, and whether each kind of caller may call it at all.
const MATRIX: &str = include_str!("../data/access.csv");

#[tokio::test]
async fn the_matrix_of_methods_and_callers_is_what_the_services_keep() {
    let h = Harness::start().await;
    let keys = &h.suite.keys;
    let someone = h.user("someone").await;
    let mut lines = MATRIX.lines();
    let heads: Vec<_> = lines.next().unwrap().split(',').skip(1).collect();
    let tokens: Vec<_> = heads
        .iter()
        .map(|caller| {
            let token = match *caller {
                "person" => keys.person(&someone),
                "operator" => keys.operator("nobody", &[]),
                role if role.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') => {
                    keys.operator("one", &[role.to_owned()])
                }
                service => keys.service(service),
            };
            token.unwrap()
        })
        .collect();
    let rows: Vec<(&str, Vec<&str>)> = lines
        .map(|line| {
            let (method, cells) = line.split_once(',').unwrap();
            (method, cells.split(',').collect())
        })
        .collect();
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
    let mut cells = 0;
    for (service, name, _) in TABLES {
        let raw = Raw::connect(h.urls.of(service)).await;
        for method in pool.get_service_by_name(name).unwrap().methods() {
            let path = format!("{name}/{}", method.name());
            let mut of = rows.iter().filter(|(it, _)| *it == path);
            let (Some((_, row)), None) = (of.next(), of.next()) else {
                panic!("{path} needs one row in tests/data/access.csv");
            };
            assert_eq!(row.len(), heads.len(), "{path}");
            let called = format!("/{path}");
            let seconds = if method.is_server_streaming() { 3 } else { 60 };
            let patience = std::time::Duration::from_secs(seconds);
            for ((caller, token), cell) in heads.iter().zip(&tokens).zip(row) {
                let answer = raw.call(&called, Some(token), Vec::new());
                // A stream without news lets its caller wait: it was let in.
                let answer = tokio::time::timeout(patience, answer).await;
                let denied = matches!(
                    answer,
                    Ok(Err(status)) if status.code() == Code::PermissionDenied
                );
                assert_eq!(
                    *cell,
                    if denied { "no" } else { "yes" },
                    "{path} by {caller}"
                );
                cells += 1;
            }
        }
    }
    assert_eq!(rows.len() * heads.len(), cells, "no row without its method");
    println!("{cells} cells of method and caller");
}
