//! What an attack on the running suite found, each tried again: opaque tokens, card numbers in free texts, bounds, and
//! what is asked without a name.

use std::time::Duration;

use perdiem::connect::{Clients, request_id};
use proto::account::v1 as account;
use proto::account::v1::create_order_request::Kind;
use proto::billing::v1 as billing;
use proto::plan::v1 as plan;
use proto::r#type::v1::Amount;
use sqlx::{AssertSqlSafe, Connection as _};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::{Harness, program, reason};

/// The field that a refusal names.
fn field(status: &Status) -> String {
    status
        .get_details_bad_request()
        .and_then(|it| it.field_violations.first().map(|it| it.field.clone()))
        .unwrap_or_default()
}

fn ticket(account_id: &str, subject: &str) -> account::CreateTicketRequest {
    account::CreateTicketRequest {
        account_id: account_id.to_owned(),
        channel_code: "EMAIL".to_owned(),
        priority_code: "P1".to_owned(),
        subject: subject.to_owned(),
        request_id: request_id(),
    }
}

#[tokio::test]
async fn r31_page_tokens_say_nothing_and_open_for_their_list_only() {
    let h = Harness::start().await;
    let (ac, other) = (h.account().await, h.account().await);
    let mut client = h.customer().account;
    for account_id in [&ac, &other] {
        for number in 1..=12 {
            let made = client.create_ticket(ticket(account_id, &format!("It fails {number}")));
            made.await.unwrap();
        }
    }
    let request = |account_id: &str, page_token: &str| account::ListTicketsRequest {
        account_id: account_id.to_owned(),
        page_size: 1,
        page_token: page_token.to_owned(),
    };
    let mut seen = std::collections::BTreeSet::new();
    let mut token = String::new();
    loop {
        let page = client.list_tickets(request(&ac, &token)).await;
        let page = page.unwrap().into_inner();
        for ticket in page.tickets {
            assert!(!page.next_page_token.contains(&ticket.ticket_id[2..]));
            seen.insert(ticket.ticket_id);
        }
        if page.next_page_token.is_empty() {
            break;
        }
        token = page.next_page_token;
        let foreign = client.list_tickets(request(&other, &token)).await;
        let foreign = foreign.unwrap_err();
        assert_eq!(
            (foreign.code(), field(&foreign).as_str()),
            (Code::InvalidArgument, "page_token")
        );
    }
    assert_eq!(seen.len(), 12);
    for made_up in ["1767225600000000.1", "AAAA", "4242424242424242"] {
        let refused = client.list_tickets(request(&ac, made_up)).await;
        assert_eq!(field(&refused.unwrap_err()), "page_token", "{made_up}");
    }
}

#[tokio::test]
async fn r31_no_service_takes_a_card_number_in_a_text_and_ids_are_no_texts() {
    let h = Harness::start().await;
    let ac = h.account().await;
    let mut client = h.customer().account;
    for card in [
        "4242424242424242",
        "my card is 4242.4242.4242.4242",
        "4242/4242/4242/4242",
        "4242_4242_4242_4242",
        "4242  4242  4242  4242",
        "4242\u{a0}4242\u{a0}4242\u{a0}4242",
        "４２４２４２４２４２４２４２４２",
    ] {
        let refused = client.create_ticket(ticket(&ac, card)).await.unwrap_err();
        assert_eq!(
            (reason(&refused).as_str(), field(&refused).as_str()),
            ("CARD_NUMBER_REFUSED", "subject"),
            "{card}"
        );
    }
    let request = proto::payments::v1::ImportCatalogueRequest {
        document: "note: 4242 4242 4242 4242".to_owned(),
        request_id: request_id(),
    };
    let mut payments = h.operator.payments.clone();
    let refused = payments.import_catalogue(request).await.unwrap_err();
    assert_eq!(
        (reason(&refused).as_str(), field(&refused).as_str()),
        ("CARD_NUMBER_REFUSED", "document")
    );
    let kept = "SELECT count(*) FROM account.tickets WHERE subject LIKE '%4242%'";
    assert_eq!(h.count(kept).await, 0);
}

fn grant(account_id: &str, amount: &str) -> billing::GrantCreditRequest {
    billing::GrantCreditRequest {
        account_id: account_id.to_owned(),
        kind: billing::lot::Kind::Promo.into(),
        amount: Some(Amount {
            currency_code: "USD".to_owned(),
            amount: amount.to_owned(),
        }),
        reason: "a gift".to_owned(),
        request_id: request_id(),
        ..billing::GrantCreditRequest::default()
    }
}

#[tokio::test]
async fn a_sum_and_a_balance_are_at_most_a_million_million_and_statements_stay_readable() {
    let h = Harness::start().await;
    let ac = h.account().await;
    let mut client = h.operator.billing.clone();
    for amount in ["9200000000000", "1000000000000.000001"] {
        let refused = client.grant_credit(grant(&ac, amount)).await.unwrap_err();
        assert_eq!(
            (refused.code(), field(&refused).as_str()),
            (Code::InvalidArgument, "amount.amount"),
            "{amount}"
        );
    }
    client
        .grant_credit(grant(&ac, "1000000000000"))
        .await
        .unwrap();
    let more = client.grant_credit(grant(&ac, "0.01")).await.unwrap_err();
    assert_eq!(field(&more), "amount.amount");
    assert_eq!(h.balance(&ac).await, "1000000000000.000000");
    let request = billing::GetStatementRequest {
        account_id: ac.clone(),
        month: "2026-03".to_owned(),
    };
    let statement = client.get_statement(request).await.unwrap().into_inner();
    assert_eq!(
        statement.closing_balance.unwrap().amount,
        "1000000000000.000000"
    );
}

fn trial(display_name: &str) -> account::CreateAccountRequest {
    account::CreateAccountRequest {
        profile_code: "global".to_owned(),
        display_name: display_name.to_owned(),
        request_id: request_id(),
        ..account::CreateAccountRequest::default()
    }
}

#[tokio::test]
async fn names_hold_nothing_that_nobody_sees() {
    let h = Harness::start().await;
    let mut client = h.customer().account;
    for name in [
        "a\0b",
        "\u{202e}evil",
        "Ann\u{200b}a",
        "\u{2066}Ann",
        "\u{feff}Ann",
    ] {
        let refused = client.create_account(trial(name)).await.unwrap_err();
        assert_eq!(
            (refused.code(), field(&refused).as_str()),
            (Code::InvalidArgument, "display_name"),
            "{name:?}"
        );
    }
    let made = client.create_account(trial("Łukasz Żółć 東京")).await;
    made.unwrap();
}

#[tokio::test]
async fn an_account_has_so_many_subaccounts_as_its_profile_says() {
    let h = Harness::start().await;
    h.import_as("v2", &[("max_subaccounts: 1000", "max_subaccounts: 1")])
        .await;
    let root = h.account().await;
    h.subaccount(&root).await;
    let request = account::CreateSubaccountRequest {
        parent_account_id: root,
        display_name: "One too many".to_owned(),
        request_id: request_id(),
        ..account::CreateSubaccountRequest::default()
    };
    let mut client = h.operator.account.clone();
    let status = client.create_subaccount(request).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(reason(&status), "TOO_MANY_SUBACCOUNTS");
}

#[tokio::test]
async fn a_person_opens_three_trials_and_an_account_holds_so_many_resources() {
    let h = Harness::start().await;
    let replaced = "max_resources: 3\n    max_subaccounts: 1000";
    h.import_as("v2", &[("max_subaccounts: 1000", replaced)])
        .await;
    let mut client = h.customer().account;
    let mut id = String::new();
    for number in 1..=3 {
        let made = client
            .create_account(trial(&format!("Trial {number}")))
            .await;
        id = made.unwrap().into_inner().account.unwrap().account_id;
    }
    let fourth = client.create_account(trial("Trial 4")).await.unwrap_err();
    assert_eq!(
        (fourth.code(), reason(&fourth).as_str()),
        (Code::ResourceExhausted, "TOO_MANY_TRIAL_ACCOUNTS")
    );
    let resource = |number: i32| account::CreateResourceRequest {
        account_id: id.clone(),
        kind_code: "FLOW".to_owned(),
        sid: format!("F{number}"),
        document: "{}".to_owned(),
        request_id: request_id(),
        ..account::CreateResourceRequest::default()
    };
    for number in 1..=3 {
        client.create_resource(resource(number)).await.unwrap();
    }
    let more = client.create_resource(resource(4)).await.unwrap_err();
    assert_eq!(
        (more.code(), reason(&more).as_str()),
        (Code::ResourceExhausted, "TOO_MANY_RESOURCES")
    );
}

#[tokio::test]
async fn what_is_refused_leaves_nothing_behind() {
    let h = Harness::start().await;
    let (ac, other) = (h.account().await, h.account().await);
    let mut client = h.customer().account;
    let phoned = account::CreateTicketRequest {
        channel_code: "PHONE".to_owned(),
        ..ticket(&ac, "It does not work")
    };
    let refused = client.create_ticket(phoned).await.unwrap_err();
    assert_eq!(reason(&refused), "CHANNEL_NOT_IN_PLAN");
    assert_eq!(h.count("SELECT count(*) FROM plan.ticket_stamps").await, 0);

    let told = "SELECT count(*) FROM account.transitions";
    let before = h.count(told).await;
    let request = account::CreateSubaccountRequest {
        parent_account_id: ac,
        display_name: "A subaccount".to_owned(),
        import_account_id: other,
        request_id: request_id(),
    };
    let mut operator = h.operator.account.clone();
    let refused = operator.create_subaccount(request).await.unwrap_err();
    assert_eq!(reason(&refused), "ACCOUNT_EXISTS");
    assert_eq!(h.count(told).await, before);
}

#[tokio::test]
async fn billing_details_fit_an_invoice_and_mail_goes_to_mailboxes() {
    let h = Harness::start().await;
    let ac = h.account().await;
    let mut client = h.customer().account;
    let details = |address: &str, email: &str| account::UpdateBillingDetailsRequest {
        account_id: ac.clone(),
        billing_details: Some(account::BillingDetails {
            recipient_name: "Ann".to_owned(),
            address: address.to_owned(),
            country_code: "US".to_owned(),
            email: email.to_owned(),
            ..account::BillingDetails::default()
        }),
        request_id: request_id(),
        ..account::UpdateBillingDetailsRequest::default()
    };
    let long = "x".repeat(42 * 8 + 1);
    for (address, email, named) in [
        (long.as_str(), "", "billing_details.address"),
        ("1\n2\n3\n4\n5\n6\n7\n8\n9", "", "billing_details.address"),
        ("", "+14155550100@sms.localhost", "billing_details.email"),
        ("", "4155550100@SMS.localhost", "billing_details.email"),
    ] {
        let refused = client.update_billing_details(details(address, email)).await;
        assert_eq!(field(&refused.unwrap_err()), named, "{address} {email}");
    }
    let fits = details(&long[1..], "ann@example.com");
    client.update_billing_details(fits).await.unwrap();
}

/// Grants a new person a role.
async fn with_role(h: &Harness, account_id: &str, role: &str) -> Clients {
    let user = h.user(&role.to_lowercase()).await;
    let request = account::GrantRoleRequest {
        account_id: account_id.to_owned(),
        user_id: user.clone(),
        role_code: role.to_owned(),
        request_id: request_id(),
    };
    h.customer().account.grant_role(request).await.unwrap();
    h.person(&user)
}

#[tokio::test]
async fn who_may_not_buy_releases_no_production_number_and_sees_no_billing_address() {
    let h = Harness::start().await;
    let ac = h.account().await;
    let held = "INSERT INTO account.resources (root_id, account_id, resource_id, kind_code, sid, display_name, document,
                                               digest, created_at, rented)
                SELECT root_id, account_id, gen_random_uuid(), 'PHONE_NUMBER', 'P1', '', '', sha256(''), created_at, false
                FROM account.accounts";
    sqlx::query(held).execute(&h.db).await.unwrap();
    let told = "INSERT INTO account.notifications (root_id, account_id, notification_id, event_key, kind_code, email, facts,
                                                   secret, state, attempt_count, created_at, sent_at)
                SELECT root_id, account_id, gen_random_uuid(), 'one', 'BALANCE_LOW', 'billing@example.com',
                       '[{\"name\": \"balance\", \"value\": \"USD 9.50\"}]', '', 'SENT', 1, created_at, created_at
                FROM account.accounts";
    sqlx::query(told).execute(&h.db).await.unwrap();
    let listed = account::ListResourcesRequest {
        account_id: ac.clone(),
        ..account::ListResourcesRequest::default()
    };
    let listed = h.customer().account.list_resources(listed).await.unwrap();
    let number = listed.into_inner().resources.remove(0).resource_id;
    let release = || account::DeleteResourceRequest {
        resource_id: number.clone(),
        request_id: request_id(),
    };
    let notifications = || account::ListNotificationsRequest {
        account_id: ac.clone(),
        ..account::ListNotificationsRequest::default()
    };
    let mut developer = with_role(&h, &ac, "DEVELOPER").await.account;
    let refused = developer.delete_resource(release()).await.unwrap_err();
    assert_eq!(reason(&refused), "ROLE_NOT_ALLOWED");
    let seen = developer.list_notifications(notifications()).await;
    assert_eq!(seen.unwrap().into_inner().notifications[0].email, "");

    let mut owner = h.customer().account;
    let seen = owner.list_notifications(notifications()).await.unwrap();
    let seen = seen.into_inner().notifications;
    assert!(seen.iter().any(|it| it.email == "billing@example.com"));
    owner.delete_resource(release()).await.unwrap();
}

#[tokio::test]
async fn anothers_invoice_is_as_good_as_none() {
    let h = Harness::start().await;
    let (ac, other) = (h.account_of("global", true).await, h.account().await);
    h.change("2026-03-01T12:00:00Z", &ac, "business").await;
    h.advance("2026-04-01T12:00:00Z").await;
    h.bill("2026-03").await;
    let theirs = h.invoices(&ac).await.remove(0).invoice_id;
    let none = format!("{}{}", &theirs[..2], "0".repeat(31) + "1");
    let mut client = h.customer().account;
    let mut refused = Vec::new();
    for invoice_id in [theirs, none] {
        let request = account::CreateOrderRequest {
            account_id: other.clone(),
            kind: Some(Kind::InvoicePayment(account::InvoicePayment {
                invoice_id: invoice_id.clone(),
                payment_method_id: "PM00000000000000000000000000000001".to_owned(),
            })),
            request_id: request_id(),
        };
        let status = client.create_order(request).await.unwrap_err();
        let info = status.get_details_error_info().unwrap();
        let text = status.message().replace(&invoice_id, "");
        refused.push((status.code(), info.reason, info.domain, text));
    }
    assert_eq!(refused[0], refused[1]);
}

/// Runs a command of `plan` to its end; whether it went well, and the lines that it wrote.
fn told(command: &str, environment: &[(&str, &str)]) -> (bool, Vec<String>) {
    let output = std::process::Command::new(program())
        .args(["service", "plan", command])
        .env("PERDIEM_PARENT", std::process::id().to_string())
        .env("PROFILE", "local")
        .env("LISTEN", "127.0.0.1:1")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let lines = text.lines().map(str::to_owned).collect();
    (output.status.success(), lines)
}

#[tokio::test]
async fn a_configuration_is_checked_as_serving_reads_it_and_all_faults_are_told_at_once() {
    let bad = [
        ("DATABASE_URL", "mysql://h/d"),
        ("DATABASE_CONNECTIONS", "0"),
        ("AUTH_KEYS_FILE", "/no/keys"),
        ("SMTP_URL", "ftp://x"),
    ];
    for command in ["check-config", "serve"] {
        let (done, lines) = told(command, &bad);
        assert!(!done, "{command}");
        for (name, _) in bad {
            let told = lines.iter().filter(|line| line.starts_with(name)).count();
            assert_eq!(told, 1, "{command} {name}: {lines:?}");
        }
    }
    let h = Harness::start().await;
    let keys = h.suite.keys.public_file.to_str().unwrap().to_owned();
    let with = |role: &str| {
        let url = h.suite.database.url(role);
        told(
            "check-config",
            &[("DATABASE_URL", &url), ("AUTH_KEYS_FILE", &keys)],
        )
    };
    assert_eq!(with("plan_service"), (true, Vec::new()));
    let (done, lines) = with("nobody_known");
    assert!(!done);
    assert!(
        lines.iter().any(|line| line.starts_with("DATABASE_URL: ")),
        "{lines:?}"
    );
}

/// A command of `plan` by a shell that sets limits first.
fn limited(limits: &str, command: &str) -> std::process::Command {
    let mut shell = std::process::Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("{limits} && exec \"$0\" service plan {command}"))
        .arg(program())
        .env("PERDIEM_PARENT", std::process::id().to_string())
        .env("PROFILE", "local")
        .env("LISTEN", "127.0.0.1:0");
    shell
}

#[tokio::test]
async fn a_service_has_the_open_files_that_its_connections_need_or_does_not_start() {
    let h = Harness::start().await;
    let environment = [
        ("DATABASE_URL", h.suite.database.url("plan_service")),
        (
            "AUTH_KEYS_FILE",
            h.suite.keys.public_file.to_str().unwrap().to_owned(),
        ),
    ];
    for command in ["check-config", "serve"] {
        let mut refused = limited("ulimit -n 512", command);
        let refused = refused.envs(environment.clone()).output().unwrap();
        assert!(!refused.status.success(), "{command}");
        let text = String::from_utf8(refused.stderr).unwrap();
        let told = text.lines().filter(|line| line.starts_with("open files: "));
        assert_eq!(told.count(), 1, "{command}: {text}");
    }
    let mut raised = limited("ulimit -Sn 256", "serve");
    let mut serving = raised.envs(environment).spawn().unwrap();
    let limits = format!("/proc/{}/limits", serving.id());
    let soft = || -> u64 {
        let text = std::fs::read_to_string(&limits).unwrap();
        let line = text.lines().find(|it| it.starts_with("Max open files"));
        let soft = line.unwrap().split_whitespace().nth(3).unwrap();
        soft.parse().unwrap()
    };
    let in_time = tokio::time::timeout(Duration::from_mins(1), async {
        while soft() < 1_024 + 256 + 256 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    serving.kill().unwrap();
    serving.wait().unwrap();
    in_time.expect("the service raises its limit");
}

#[tokio::test]
async fn the_local_database_is_reached_by_its_socket_only_which_is_its_owners() {
    use std::os::unix::fs::PermissionsExt as _;
    let h = Harness::start().await;
    let addresses: String = sqlx::query_scalar("SHOW listen_addresses")
        .fetch_one(&h.db)
        .await
        .unwrap();
    assert_eq!(addresses, "");
    let folder = std::fs::metadata(&h.suite.database.socket_folder).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn reflection_answers_those_who_are_known_with_what_the_port_serves() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let h = Harness::start().await;
    let endpoint = tonic::transport::Endpoint::from_shared(h.urls.plan_url.clone()).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let ask = async |token: Option<String>| {
        let question = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut request = tonic::Request::new(futures::stream::iter([question]));
        if let Some(token) = token {
            let bearer = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", bearer);
        }
        let mut client = ServerReflectionClient::new(channel.clone());
        let mut answers = client.server_reflection_info(request).await?.into_inner();
        answers.message().await
    };
    let unknown = ask(None).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unauthenticated);
    let token = h.suite.keys.person(&h.owner).unwrap();
    let answer = ask(Some(token)).await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(listed)) = answer.message_response else {
        panic!("{answer:?}");
    };
    let ours = listed.service.iter().map(|it| it.name.as_str());
    let ours: Vec<&str> = ours.filter(|it| !it.contains("reflection")).collect();
    assert!(ours.contains(&"perdiem.plan.v1.PlanService"));
    assert!(ours.contains(&"grpc.health.v1.Health"));
    assert_eq!(ours.len(), 2, "{ours:?}");
}

/// Tables without row-level security, and schemas without any, each with its reason.
const SEEN_BY_ALL: &[(&str, &str)] = &[
    (
        "billing",
        "D25: a billing run writes by COPY, which row-level security refuses; each statement names the root account",
    ),
    (
        "plan",
        "D25: billing runs read all of it; each statement names the root account",
    ),
    ("account._sqlx_migrations", "describes the schema"),
    (
        "account.job_claims",
        "keys of work and why it waits, read by jobs only, which see all tenants",
    ),
    (
        "account.page_keys",
        "one key of the service, whosever the lists are",
    ),
    (
        "account.roots",
        "ids and standings, read to find the tenant that is entered",
    ),
    ("account.test_clock", "one instant"),
    (
        "account.watch_positions",
        "how far the news of another service were read",
    ),
    ("payments._sqlx_migrations", "describes the schema"),
    ("payments.catalogues", "of no customer"),
    (
        "payments.dispute_scans",
        "how far the disputes of a provider were read",
    ),
    (
        "payments.job_claims",
        "keys of work and why it waits, read by jobs only, which see all tenants",
    ),
    (
        "payments.page_keys",
        "one key of the service, whosever the lists are",
    ),
    (
        "payments.roots",
        "ids and standings, read to find the tenant that is entered",
    ),
    (
        "payments.sandbox_book",
        "stands for a provider's book, outside",
    ),
    ("payments.test_clock", "one instant"),
];

#[tokio::test]
async fn r15_each_table_has_row_level_security_or_a_reason_to_have_none() {
    let h = Harness::start().await;
    let tables: Vec<(String, String, bool)> = sqlx::query_as(
        "SELECT n.nspname::text, n.nspname || '.' || c.relname,
                c.relrowsecurity AND c.relforcerowsecurity
                AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname IN ('plan', 'billing', 'account', 'payments') AND c.relkind IN ('r', 'p')",
    )
    .fetch_all(&h.db)
    .await
    .unwrap();
    let listed = |name: &str| SEEN_BY_ALL.iter().any(|(it, _)| *it == name);
    for (schema, table, protected) in &tables {
        let reason = listed(schema) || listed(table);
        assert_ne!(*protected, reason, "{table}");
    }
    for (name, _) in SEEN_BY_ALL {
        let mut tables = tables.iter();
        let found = tables.any(|(schema, table, _)| schema == name || table == name);
        assert!(found, "there is no {name} any more");
    }
}

/// How many rows of a table its service sees in a transaction with one setting.
async fn seen(h: &Harness, table: &str, (setting, value): (&str, &str)) -> i64 {
    let (schema, _) = table.split_once('.').unwrap();
    let url = h.suite.database.url(&format!("{schema}_service"));
    let mut db = sqlx::PgConnection::connect(&url).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    sqlx::query("SELECT set_config($1, $2, true)")
        .bind(setting)
        .bind(value)
        .execute(&mut *tx)
        .await
        .unwrap();
    let rows = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table}")));
    rows.fetch_one(&mut *tx).await.unwrap()
}

/// How many rows of a table there are where a condition holds.
async fn rows(h: &Harness, table: &str, condition: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table} WHERE {condition}");
    let rows = sqlx::query_scalar(AssertSqlSafe(sql));
    rows.fetch_one(&h.db).await.unwrap()
}

#[tokio::test]
async fn r15_answers_and_users_are_seen_by_whom_they_are_about() {
    // Without jobs nothing is asked between two counts.
    let h = Harness::start_with(&[("JOBS", "false")]).await;
    let (ac, other) = (h.account().await, h.account().await);
    let root = |id: &str| uuid::Uuid::try_parse(&id[2..]).unwrap().to_string();
    let mut client = h.customer().account;
    client.create_ticket(ticket(&ac, "It fails")).await.unwrap();
    // There is no such account: the request is taken nevertheless, and its refusal is given again.
    let unknown = ticket(&format!("AC{}1", "0".repeat(31)), "It fails");
    for _ in 0..2 {
        let refused = client.create_ticket(unknown.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound);
    }
    let kept = "method = 'CreateTicket' AND status_code = 5";
    assert_eq!(rows(&h, "account.requests", kept).await, 1);

    for table in ["account.requests", "payments.requests"] {
        let all = rows(&h, table, "true").await;
        assert!(1 < all, "{table}");
        assert_eq!(seen(&h, table, ("app.tenant", "all")).await, all, "{table}");
        assert_eq!(seen(&h, table, ("app.tenant", "")).await, 0, "{table}");
        assert_eq!(seen(&h, table, ("app.caller", "")).await, 0, "{table}");
        let mut of_each = 0;
        for id in [&ac, &other] {
            let root = root(id);
            let of_root = rows(&h, table, &format!("root_id = '{root}'")).await;
            assert!(0 < of_root, "{table}");
            let told = seen(&h, table, ("app.tenant", root.as_str())).await;
            assert_eq!(told, of_root, "{table}");
        }
        let callers = format!("SELECT caller, count(*) FROM {table} GROUP BY caller");
        let callers: Vec<(String, i64)> = sqlx::query_as(AssertSqlSafe(callers))
            .fetch_all(&h.db)
            .await
            .unwrap();
        for (caller, count) in callers {
            let told = seen(&h, table, ("app.caller", caller.as_str())).await;
            assert_eq!(told, count, "{table} {caller}");
            of_each += told;
        }
        assert_eq!(of_each, all, "{table}");
    }

    h.user("another").await;
    let (tenant, owner) = (root(&ac), root(&h.owner));
    for (setting, value, count) in [
        ("app.tenant", "all", 2),
        ("app.tenant", "", 0),
        ("app.tenant", tenant.as_str(), 0),
        ("app.user", owner.as_str(), 1),
    ] {
        let told = seen(&h, "account.users", (setting, value)).await;
        assert_eq!(told, count, "{setting} {value}");
    }
    let listed = account::ListUsersRequest::default();
    let mut operator = h.operator.account.clone();
    let listed = operator.list_users(listed).await.unwrap().into_inner();
    assert_eq!(listed.users.len(), 2);
}

#[tokio::test]
async fn nobody_but_account_lifecycle_says_that_a_change_has_been_paid_for() {
    let h = Harness::start().await;
    let ac = h.account().await;
    let order = h.quote(&h.customer(), &ac, "business").await.unwrap();
    let preview = plan::PreviewChangeRequest {
        account_id: ac.clone(),
        family_code: "SUPPORT".to_owned(),
        plan_code: "business".to_owned(),
        actor: plan::Actor::Operator.into(),
        ..plan::PreviewChangeRequest::default()
    };
    let previewed = h.operator.plan.clone().preview_change(preview).await;
    let change = previewed.unwrap().into_inner().change.unwrap();
    let paid = |order_id: &str| plan::ApplyChangeRequest {
        account_id: ac.clone(),
        family_code: "SUPPORT".to_owned(),
        plan_code: "business".to_owned(),
        actor: plan::Actor::Customer.into(),
        timeline_etag: change.timeline_etag.clone(),
        catalogue_version: change.catalogue_version.clone(),
        order_id: order_id.to_owned(),
        request_id: request_id(),
        paid: true,
        ..plan::ApplyChangeRequest::default()
    };
    let segments = "SELECT count(*) FROM plan.segments";
    let before = h.count(segments).await;
    for role in ["SUPPORT_AGENT", "SALES"] {
        let mut client = h.operator_with(role).plan;
        let refused = client.apply_change(paid(&order.order_id)).await;
        let refused = refused.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::PermissionDenied, "CALLER_NOT_ALLOWED"),
            "{role}"
        );
    }
    let token = h.suite.keys.service("account-lifecycle").unwrap();
    let mut owner = Clients::new(&h.urls, &token).unwrap().plan;
    let of_no_order = owner.apply_change(paid("")).await.unwrap_err();
    assert_eq!(
        (of_no_order.code(), field(&of_no_order).as_str()),
        (Code::InvalidArgument, "order_id")
    );
    assert_eq!(h.count(segments).await, before);
    owner.apply_change(paid(&order.order_id)).await.unwrap();
}

#[tokio::test]
async fn a_hang_up_ends_no_service() {
    let mut h = Harness::start().await;
    for pid in h.suite.pids() {
        let sent = std::process::Command::new("kill")
            .args(["-HUP", &pid.to_string()])
            .status();
        assert!(sent.unwrap().success());
    }
    // It goes through all four.
    h.account().await;
    for name in ["plan", "billing", "account-lifecycle", "payments"] {
        assert!(!h.suite.has_ended(name), "{name} has ended");
    }
}
