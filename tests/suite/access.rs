//! Who may call what: a matrix says what the requirements say, method by method, and the services keep it, for
//! whoever can be named and for whoever can't.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chassis::{Access, Audience, Caller, Claims, OperatorRole, ServiceName, TrustDomain};
use futures::future::join_all;
use perdiem::connect::request_id;
use perdiem::keys;
use prost_reflect::DescriptorPool;
use proto::account::v1 as account;
use tonic::Code;

use crate::closing::close;
use crate::harness::{Harness, reason};
use crate::hostile::Raw;
use crate::subscriptions::refused;

/// The services with their tables, by the name that the suite gives to whoever serves them; both of account-lifecycle
/// are in one.
pub const TABLES: [(&str, &str, &[Access]); 5] = [
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
        "account-lifecycle",
        "perdiem.account.v1.CustomerService",
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
    for (of, _, table) in TABLES {
        let served = TABLES.iter().filter(|(server, ..)| *server == of);
        let services = served.map(|(_, name, _)| pool.get_service_by_name(name).unwrap());
        let methods: Vec<_> = services
            .flat_map(|service| service.methods().collect::<Vec<_>>())
            .collect();
        let declared: BTreeSet<_> = methods
            .iter()
            .map(|it| {
                (
                    it.name().to_owned(),
                    it.is_client_streaming() || it.is_server_streaming(),
                )
            })
            .collect();
        assert_eq!(declared.len(), methods.len(), "{of}: a name of two methods");
        let rows: BTreeSet<_> = table
            .iter()
            .map(|row| (row.method.to_owned(), row.streams))
            .collect();
        assert_eq!(declared, rows, "{of}");
        assert_eq!(rows.len(), table.len(), "{of}: a row twice");
        assert!(
            table.iter().all(|row| !row.who.is_empty()),
            "{of}: a row for nobody"
        );
    }
}

/// A row a method: who may call it, and which requirement, conflict or decision says so. Nobody else may.
const MATRIX: &str = include_str!("../data/access.csv");

/// Who may call a method, by its path.
type Matrix = BTreeMap<&'static str, BTreeSet<&'static str>>;

fn matrix() -> Matrix {
    let roles = OperatorRole::ALL.iter().map(|it| it.text());
    let services = ServiceName::ALL.iter().map(|it| it.text());
    let known: BTreeSet<&str> = roles.chain(services).chain(["person"]).collect();
    let mut matrix = Matrix::new();
    for line in MATRIX.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let [path, callers, because] = cells[..] else {
            panic!("not method, callers and why: {line}");
        };
        let (numbers, why) = because.split_once(": ").unwrap();
        assert!(!why.is_empty(), "{line}");
        assert!(numbers.split(' ').all(is_number), "{line}");
        let callers: BTreeSet<&str> = callers.split(' ').collect();
        assert!(callers.is_subset(&known), "{line}");
        assert!(matrix.insert(path, callers).is_none(), "{path}: two rows");
    }
    matrix
}

/// Whether a word is the number of a requirement, of a conflict or of a decision.
fn is_number(word: &str) -> bool {
    let digits = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit());
    ["REQ-", "C-", "D"]
        .into_iter()
        .any(|kind| word.strip_prefix(kind).is_some_and(digits))
}

/// What a token says.
fn says(kind: &str, sub: &str, roles: &[&str]) -> Claims {
    Claims {
        roles: roles.iter().map(|it| (*it).to_owned()).collect(),
        ..keys::claims(kind, sub)
    }
}

/// Everybody who can be named, with their name in the matrix: an operator without a role has none.
fn everybody(user: &str) -> Vec<(Claims, &'static str)> {
    let mut all = vec![
        (says("person", user, &[]), "person"),
        (says("operator", "nobody", &[]), ""),
    ];
    for role in OperatorRole::ALL {
        all.push((says("operator", "one", &[role.text()]), role.text()));
    }
    for service in ServiceName::ALL {
        all.push((says("service", service.text(), &[]), service.text()));
    }
    all
}

/// What names nobody, though we signed it.
fn nobody(user: &str) -> Vec<Claims> {
    let every: Vec<&str> = OperatorRole::ALL.iter().map(|it| it.text()).collect();
    let upper = user.to_uppercase();
    let (ahead, behind) = (format!(" {user}"), format!("{user} "));
    let people = [
        "root",
        "",
        "US",
        "US00000000-0000-0000-0000-000000000001",
        &user[..33],
        &user[2..],
        upper.as_str(),
        ahead.as_str(),
        behind.as_str(),
    ];
    let services = [
        "",
        "stranger",
        "Billing",
        "billing/",
        "/billing",
        "billing/readonly",
        "bill%69ng",
        user,
    ];
    let operators = ["", " ", "ann lee", "ann/SALES", "ann:billing"];
    let roles = ["", "ADMIN", "sales", "SALES ", "*", "OWNER"];
    let kinds = ["", "Person", "admin", "root", "operator "];
    let mut all = Vec::new();
    all.extend(people.map(|sub| says("person", sub, &every)));
    all.extend(services.map(|sub| says("service", sub, &every)));
    all.extend(operators.map(|sub| says("operator", sub, &every)));
    all.extend(roles.map(|role| says("operator", "one", &[role])));
    all.extend(roles.map(|role| says("operator", "one", &["SALES", role])));
    for kind in kinds {
        all.extend([user, "one", "billing"].map(|sub| says(kind, sub, &every)));
    }
    all
}

/// What names somebody, in a token that is not good: of another issuer, for somebody else, too late, too early,
/// and of a proof that is to come.
fn not_good(user: &str) -> Vec<Claims> {
    let good = || says("person", user, &[]);
    let now = good().auth_time.unwrap();
    vec![
        Claims {
            iss: "https://evil.example".to_owned(),
            ..good()
        },
        Claims {
            aud: Audience::Many(vec!["another".to_owned()]),
            ..good()
        },
        Claims {
            exp: now - 1,
            ..good()
        },
        Claims {
            nbf: Some(now + 3_600),
            ..good()
        },
        Claims {
            auth_time: Some(now + 3_600),
            ..good()
        },
    ]
}

/// The methods of a service, and whether they answer with a stream.
fn methods(name: &str) -> Vec<(String, bool)> {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
    let service = pool.get_service_by_name(name).unwrap();
    service
        .methods()
        .map(|it| (it.name().to_owned(), it.is_server_streaming()))
        .collect()
}

#[test]
fn each_method_has_a_row_and_each_table_says_what_the_matrix_says() {
    let matrix = matrix();
    let user = "US0123456789abcdef0123456789abcdef";
    let mut rows = 0;
    for (_, name, table) in TABLES {
        for (method, _) in methods(name) {
            let path = format!("{name}/{method}");
            let row = matrix.get(path.as_str());
            let row = row.unwrap_or_else(|| panic!("{path} needs a row in tests/data/access.csv"));
            let access = table.iter().find(|it| it.method == method).unwrap();
            for (claims, caller) in everybody(user) {
                let read = Caller::from_claims(&claims).unwrap();
                assert_eq!(
                    access.allows(&read),
                    row.contains(caller),
                    "{path} by {caller:?}"
                );
            }
            rows += 1;
        }
    }
    assert_eq!(matrix.len(), rows, "no row without its method");
    for claims in nobody(user) {
        assert_eq!(Caller::from_claims(&claims), None, "{claims:?}");
    }
}

#[test]
fn a_spiffe_id_is_of_whom_it_names_whole_and_of_nobody_else() {
    let domain: TrustDomain = "perdiem.test".parse().unwrap();
    let read = |id: &str| Caller::from_spiffe(id, &domain);
    let mut ids = 0;
    for (claims, name) in everybody("US0123456789abcdef0123456789abcdef") {
        let path = match claims.kind.as_str() {
            "service" => format!("service/{name}"),
            "operator" if !name.is_empty() => format!("operator/one/{name}"),
            _ => continue,
        };
        let id = format!("spiffe://perdiem.test/{path}");
        assert_eq!(read(&id), Caller::from_claims(&claims), "{id}");
        let (parent, last) = id.rsplit_once('/').unwrap();
        for bad in [
            format!("spiffe://evil.example/{path}"),
            format!("spiffe://perdiem.test.evil.example/{path}"),
            format!("spiffe:///{path}"),
            format!("spiffe://perdiem.test//{path}"),
            format!("spiffe://perdiem.test/x/{path}"),
            format!("https://perdiem.test/{path}"),
            format!("{id}/"),
            format!("{id}/readonly"),
            format!("{id}?x"),
            format!("{parent}//{last}"),
            format!("{parent}/%{:02x}{}", last.as_bytes()[0], &last[1..]),
            format!("{parent}%2f{last}"),
            format!("{parent}/"),
            parent.to_owned(),
            id.to_uppercase(),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
            ids += 1;
        }
    }
    println!("{ids} SPIFFE ids of nobody");
}

/// What became of a caller at the door.
#[derive(Debug, PartialEq, Eq)]
enum Door {
    /// Nobody knows who it is.
    Unknown,
    /// It may not call this.
    Closed,
    /// It was let in.
    Open,
}

/// How often a call is tried that its connection has not carried.
const TRIES: u32 = 5;

async fn knock(raw: &Raw, path: &str, token: Option<&str>, patience: Duration) -> Door {
    for _ in 0..TRIES {
        let answer = raw.call(path, token, Vec::new());
        // A stream without news lets its caller wait: it was let in.
        let Ok(Err(status)) = tokio::time::timeout(patience, answer).await else {
            return Door::Open;
        };
        match (status.code(), reason(&status).as_str()) {
            (Code::Unauthenticated, "CALLER_UNKNOWN") => return Door::Unknown,
            (Code::PermissionDenied, "CALLER_NOT_ALLOWED") => return Door::Closed,
            // Not an answer of the service, which names its reason: the connection or the stream was reset.
            (Code::Unavailable | Code::Cancelled | Code::Unknown, "") => {
                println!("{path}: {status:?}");
            }
            (Code::Internal, "") if status.message().contains("h2 protocol") => {
                println!("{path}: {status:?}");
            }
            _ => {
                println!("{path}: {status:?}");
                return Door::Open;
            }
        }
    }
    panic!("{path}: no answer in {TRIES} tries")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_keep_the_matrix_for_everybody_and_know_nobody_else() {
    let h = Harness::start().await;
    let (matrix, user) = (matrix(), h.user("someone").await);
    let sign = |claims: &Claims| h.suite.keys.sign(claims).unwrap();
    let known: Vec<_> = everybody(&user)
        .into_iter()
        .map(|(claims, name)| (sign(&claims), name))
        .collect();
    let unknown: Vec<_> = [nobody(&user), not_good(&user)]
        .concat()
        .into_iter()
        .map(|claims| (Some(sign(&claims)), format!("{claims:?}")))
        .chain([(None, "no token".to_owned())])
        .chain([(Some("a.b.c".to_owned()), "no token at all".to_owned())])
        .collect();
    let walks = TABLES.map(|(service, name, _)| {
        let at = (h.urls.of(service), name);
        walk(at, &matrix, &known, &unknown)
    });
    let cells: u32 = join_all(walks).await.into_iter().sum();
    println!("{cells} cells of method and caller");
}

/// Knocks at every method of the service at a URL, in the name of everybody and of nobody.
async fn walk(
    (url, name): (&str, &str),
    matrix: &Matrix,
    known: &[(String, &str)],
    unknown: &[(Option<String>, String)],
) -> u32 {
    let raw = Raw::connect(url).await;
    let mut cells = 0;
    for (method, streams) in methods(name) {
        let path = format!("/{name}/{method}");
        let row = &matrix[&path[1..]];
        let patience = Duration::from_secs(if streams { 3 } else { 60 });
        for (token, caller) in known {
            let door = knock(&raw, &path, Some(token), patience).await;
            let expected = if row.contains(caller) {
                Door::Open
            } else {
                Door::Closed
            };
            assert_eq!(door, expected, "{path} by {caller:?}");
            cells += 1;
        }
        for (token, said) in unknown {
            let door = knock(&raw, &path, token.as_deref(), patience).await;
            assert_eq!(door, Door::Unknown, "{path} by {said}");
            cells += 1;
        }
    }
    cells
}

/// Details that say that a customer is billed without tax.
fn exported(id: &str) -> account::UpdateBillingDetailsRequest {
    account::UpdateBillingDetailsRequest {
        account_id: id.to_owned(),
        billing_details: Some(account::BillingDetails {
            recipient_name: "Asha Traders".to_owned(),
            country_code: "US".to_owned(),
            export_supply: true,
            ..account::BillingDetails::default()
        }),
        request_id: request_id(),
        ..account::UpdateBillingDetailsRequest::default()
    }
}

#[tokio::test]
async fn what_only_some_operators_may_set_is_refused_to_the_others() {
    let h = Harness::start().await;
    let id = h.account().await;
    let only = (Code::PermissionDenied, "OPERATORS_ONLY".to_owned());
    let mode = account::account::BillingMode::Invoiced;
    let invoiced = || account::UpdateBillingDetailsRequest {
        account_id: id.clone(),
        billing_mode: mode.into(),
        request_id: request_id(),
        ..account::UpdateBillingDetailsRequest::default()
    };
    let set = async |role: &str, request: account::UpdateBillingDetailsRequest| {
        let mut client = h.operator_with(role).account;
        client.update_billing_details(request).await
    };
    assert_eq!(refused(set("SALES", exported(&id)).await), only);
    assert_eq!(refused(set("SUPPORT_AGENT", exported(&id)).await), only);
    set("BILLING", exported(&id)).await.unwrap();
    assert_eq!(refused(set("SUPPORT_AGENT", invoiced()).await), only);
    set("SALES", invoiced()).await.unwrap();

    let opened = |owner: &str| account::CreateAccountRequest {
        profile_code: "global".to_owned(),
        display_name: "An account".to_owned(),
        owner_user_id: owner.to_owned(),
        r#type: account::account::Type::Full.into(),
        billing_mode: mode.into(),
        request_id: request_id(),
        ..account::CreateAccountRequest::default()
    };
    let mut support = h.operator_with("SUPPORT_AGENT").account;
    let answer = support.create_account(opened(&h.owner)).await;
    assert_eq!(refused(answer), only);
    let mut sales = h.operator_with("SALES").account;
    sales.create_account(opened(&h.owner)).await.unwrap();

    // Who pays by invoice is closed by sales (REQ-040).
    let manager = (
        Code::FailedPrecondition,
        "CONTACT_ACCOUNT_MANAGER".to_owned(),
    );
    for role in ["SUPPORT_AGENT", "RISK"] {
        assert_eq!(refused(close(&h.operator_with(role), &id).await), manager);
    }
    close(&h.operator_with("SALES"), &id).await.unwrap();
}

#[tokio::test]
async fn a_person_owns_what_they_open_and_sees_nothing_of_others() {
    let h = Harness::start().await;
    let id = h.account().await;
    let someone = h.user("someone").await;
    let mut other = h.person(&someone).account;
    let listed = other
        .list_accounts(account::ListAccountsRequest::default())
        .await;
    assert!(listed.unwrap().into_inner().accounts.is_empty(), "{id}");
    let request = account::GetUserRequest {
        user_id: h.owner.clone(),
    };
    assert_eq!(refused(other.get_user(request).await).1, "USER_NOT_FOUND");
    let request = account::CreateAccountRequest {
        profile_code: "global".to_owned(),
        display_name: "Another's".to_owned(),
        owner_user_id: h.owner.clone(),
        request_id: request_id(),
        ..account::CreateAccountRequest::default()
    };
    let made = other.create_account(request).await.unwrap().into_inner();
    assert_eq!(made.account.unwrap().owner_user_id, someone);
}
