//! `perdiem demo`: the main job on a sample, from an empty database to explained invoices.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use chrono::{DateTime, Utc};
use futures::{StreamExt as _, TryStreamExt as _};
use proto::account::v1 as account;
use proto::account::v1::create_order_request::Kind;
use proto::billing::v1 as billing;
use proto::plan::v1 as plan;
use serde::Deserialize;

use crate::connect::{Clients, Urls, refused, request_id};
use crate::show::{self, Output, Progress};
use crate::suite::Suite;
use crate::usage::{Import, OnBroken};
use crate::{Failure, catalogue, clock, invoice, prepaid, run, usage};

/// Requests under way at once while the sample is loaded.
const AT_ONCE: usize = 8;

#[derive(Deserialize)]
struct AccountRow {
    account_sid: String,
    parent_account_sid: String,
    display_name: String,
}

#[derive(Deserialize)]
struct ContractRow {
    plan_code: String,
    start_time: DateTime<Utc>,
    payer_account_sid: String,
    member_account_sids: String,
}

#[derive(Deserialize)]
struct ChangeRow {
    account_sid: String,
    time: DateTime<Utc>,
    plan_code: String,
}

/// Plays the whole main job against a fresh suite whose clocks stand.
#[expect(clippy::too_many_lines, reason = "the story, read top to bottom")]
pub async fn play(suite: &Suite, data: &Path) -> Result<(), Failure> {
    let urls = suite.settings.urls.clone();
    let operator = Clients::new(&urls, &suite.keys.any_operator()?)?;
    let step = |text: &str| show::line(format!("\n== {text}"));

    step("1 March 2026: catalogue, accounts and the free plan");
    clock::set(&urls, at("2026-03-01T00:00:00Z")?).await?;
    let loaded = catalogue::import(&operator, &data.join("catalogue.yaml"), true).await?;
    show::line(format!(
        "catalogue {} ({} plans) is in force",
        loaded.version,
        loaded.plans.len()
    ));
    let sample = data.join("sample");
    let accounts: Vec<AccountRow> = rows(&sample.join("accounts.csv"))?;
    let owner = make_accounts(&operator, &accounts).await?;
    let customer = Clients::new(&urls, &suite.keys.person(&owner)?)?;

    step("March is billed: everyone was on the free plan, so nothing is owed");
    clock::advance(&urls, at("2026-04-01T00:00:00Z")?).await?;
    let march = run::create(&operator, "SUPPORT", "2026-03", false).await?;
    run::print(
        &run::watch(&operator, &march.billing_run_id, true).await?,
        Output::Text,
    )?;

    step("April: plans change on several days, each by quote, two confirmations and commit");
    change_plans(&urls, &operator, &customer, &sample).await?;

    step("1 May 2026: April's usage comes in");
    clock::advance(&urls, at("2026-05-01T00:00:00Z")?).await?;
    for (file, source) in [
        ("usage.csv", "twilio"),
        ("usage.json", "twilio"),
        ("edge.csv", "own"),
    ] {
        let how = Import {
            source: source.to_owned(),
            on_broken: OnBroken::Refuse,
            own_only: true,
            quiet: file != "usage.csv",
        };
        let file = sample.join(file);
        usage::print(&file, &usage::import(&operator, &file, &how).await?);
    }

    step("The April billing run");
    let begun = Instant::now();
    let april = run::create(&operator, "SUPPORT", "2026-04", false).await?;
    let april = run::watch(&operator, &april.billing_run_id, false).await?;
    run::print(&april, Output::Text)?;
    show::line(format!("  took {:.1?}", begun.elapsed()));

    step("Three invoices, explained to the cent");
    for (name, total) in [
        ("Upgrade On The Fifteenth", "2026.67"),
        ("Contract Payer", "2100.00"),
        ("Same Day Change", "80.00"),
    ] {
        let row = accounts
            .iter()
            .find(|row| row.display_name == name)
            .ok_or("the sample lacks a story")?;
        show::line(format!("\n{name}:"));
        let shown = invoice::newest(&operator, &row.account_sid).await?;
        invoice::print(&shown, true, Output::Text)?;
        let got = shown.total.map(|total| total.amount).unwrap_or_default();
        if got != total {
            return Err(format!("{name}: {got} instead of {total}").into());
        }
    }

    step("The same run once more changes nothing");
    let before = run::get(&operator, &april.billing_run_id).await?;
    let again = run::create(&operator, "SUPPORT", "2026-04", false).await?;
    let again = run::watch(&operator, &again.billing_run_id, true).await?;
    if again != before {
        return Err("a second run changed something".into());
    }
    show::line(format!(
        "{} again: {} invoices, not one more",
        again.billing_run_id, again.invoice_count
    ));

    step("May: a prepaid account runs dry, fills itself, and gets its invoices as PDF");
    let folder = suite.settings.folder.join("invoices");
    prepaid::play(&urls, (&operator, &customer), &owner, &folder).await?;

    let reconciled = operator
        .billing
        .clone()
        .reconcile(billing::ReconcileRequest::default())
        .await
        .map_err(refused)?
        .into_inner();
    if !reconciled.differences.is_empty() {
        return Err(reconciled.differences.join("\n").into());
    }
    show::line(format!(
        "the ledgers of {} accounts agree with their lots, balances and invoices",
        reconciled.account_count
    ));
    Ok(())
}

/// Ready-to-paste calls against the running suite.
pub async fn hints(suite: &Suite, data: &Path) -> Result<(), Failure> {
    let accounts: Vec<AccountRow> = rows(&data.join("sample/accounts.csv"))?;
    let first = accounts
        .first()
        .map(|row| row.account_sid.clone())
        .unwrap_or_default();
    let address = |name: &str| Urls::address(suite.settings.urls.of(name)).to_owned();
    let (billing, plan, account) = (
        address("billing"),
        address("plan"),
        address("account-lifecycle"),
    );
    let operator = Clients::new(&suite.settings.urls, &suite.keys.any_operator()?)?;
    let invoice = invoice::newest(&operator, &first).await?.invoice_id;
    show::line("\n== The suite still runs. Paste:");
    show::line(format!("export TOKEN={}", suite.keys.any_operator()?));
    for call in [
        format!("grpcurl -plaintext -H \"authorization: Bearer $TOKEN\" {billing} list"),
        format!(
            "grpcurl -plaintext -H \"authorization: Bearer $TOKEN\" {billing} describe perdiem.billing.v1.BillingService.CreateBillingRun"
        ),
        format!(
            "grpcurl -plaintext -H \"authorization: Bearer $TOKEN\" -d '{{\"invoice_id\":\"{invoice}\"}}' {billing} perdiem.billing.v1.BillingService/GetInvoice"
        ),
        format!(
            "grpcurl -plaintext -H \"authorization: Bearer $TOKEN\" -d '{{\"account_id\":\"{first}\"}}' {billing} perdiem.billing.v1.BillingService/GetBalance"
        ),
        format!(
            "grpcurl -plaintext -H \"authorization: Bearer $TOKEN\" -d '{{\"account_id\":\"{first}\",\"family_code\":\"SUPPORT\"}}' {plan} perdiem.plan.v1.PlanService/ListSegments"
        ),
        format!(
            "grpcurl -plaintext -H \"authorization: Bearer $TOKEN\" -d '{{\"account_id\":\"{first}\"}}' {account} perdiem.account.v1.AccountService/ListOrders"
        ),
    ] {
        show::line(call);
    }
    Ok(())
}

/// The folder with the catalogue and the sample: beside the program's sources, or here.
pub fn data_folder(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data");
    let candidates = given
        .into_iter()
        .chain([PathBuf::from("tests/data"), built]);
    candidates
        .into_iter()
        .find(|folder| folder.join("catalogue.yaml").is_file())
        .ok_or_else(|| "the sample is not found: run in the checkout, or give --data".into())
}

async fn make_accounts(operator: &Clients, accounts: &[AccountRow]) -> Result<String, Failure> {
    let request = account::CreateUserRequest {
        email: "owner@example.com".to_owned(),
        display_name: "Owner of the sample".to_owned(),
        request_id: request_id(),
    };
    let owner = operator
        .account
        .clone()
        .create_user(request)
        .await
        .map_err(refused)?
        .into_inner()
        .user
        .ok_or("no user")?
        .user_id;
    let mut progress = Progress::begin("accounts", u64::try_from(accounts.len())?);
    // Roots first: a subaccount needs its parent.
    let (roots, subaccounts): (Vec<_>, Vec<_>) = accounts
        .iter()
        .partition(|row| row.parent_account_sid.is_empty());
    for group in [roots, subaccounts] {
        let mut made = futures::stream::iter(group)
            .map(|row| make_account(operator, row, &owner))
            .buffer_unordered(AT_ONCE);
        while let Some(()) = made.try_next().await? {
            progress.more(1);
        }
    }
    progress.end();
    Ok(owner)
}

async fn make_account(operator: &Clients, row: &AccountRow, owner: &str) -> Result<(), Failure> {
    let mut client = operator.account.clone();
    if row.parent_account_sid.is_empty() {
        let request = account::CreateAccountRequest {
            profile_code: "global".to_owned(),
            display_name: row.display_name.clone(),
            owner_user_id: owner.to_owned(),
            r#type: account::account::Type::Full.into(),
            import_account_id: row.account_sid.clone(),
            request_id: request_id(),
            ..account::CreateAccountRequest::default()
        };
        client.create_account(request).await.map_err(refused)?;
    } else {
        let request = account::CreateSubaccountRequest {
            parent_account_id: row.parent_account_sid.clone(),
            display_name: row.display_name.clone(),
            import_account_id: row.account_sid.clone(),
            request_id: request_id(),
        };
        client.create_subaccount(request).await.map_err(refused)?;
    }
    Ok(())
}

async fn change_plans(
    urls: &Urls,
    operator: &Clients,
    customer: &Clients,
    sample: &Path,
) -> Result<(), Failure> {
    for row in rows::<ContractRow>(&sample.join("contracts.csv"))? {
        clock::advance(urls, row.start_time).await?;
        let request = plan::CreateContractRequest {
            family_code: "SUPPORT".to_owned(),
            plan_code: row.plan_code.clone(),
            payer_account_id: row.payer_account_sid.clone(),
            member_account_ids: row
                .member_account_sids
                .split(';')
                .map(str::to_owned)
                .collect(),
            request_id: request_id(),
        };
        let made = operator
            .plan
            .clone()
            .create_contract(request)
            .await
            .map_err(refused)?
            .into_inner()
            .contract
            .ok_or("no contract")?;
        show::line(format!(
            "contract {} puts {} accounts on {}",
            made.contract_id,
            made.members.len(),
            made.plan_code
        ));
    }
    let changes: Vec<ChangeRow> = rows(&sample.join("plan_changes.csv"))?;
    let mut progress = Progress::begin("plan changes", u64::try_from(changes.len())?);
    for together in changes.chunk_by(|a, b| a.time == b.time) {
        let Some(first) = together.first() else {
            continue;
        };
        clock::advance(urls, first.time).await?;
        let mut done = futures::stream::iter(together)
            .map(|row| change(customer, &row.account_sid, &row.plan_code))
            .buffer_unordered(AT_ONCE);
        while done.try_next().await?.is_some() {
            progress.more(1);
        }
    }
    progress.end();
    let mut by_plan: HashMap<&str, usize> = HashMap::new();
    for change in &changes {
        *by_plan.entry(change.plan_code.as_str()).or_default() += 1;
    }
    let mut by_plan: Vec<_> = by_plan.into_iter().collect();
    by_plan.sort_unstable();
    show::table(
        &["to plan", "changes"],
        &by_plan
            .iter()
            .map(|(plan, count)| vec![(*plan).to_owned(), count.to_string()])
            .collect::<Vec<_>>(),
    );
    Ok(())
}

/// Changes the support plan of an account by the order flow: quote, confirmations, commit.
pub async fn change(
    clients: &Clients,
    account_id: &str,
    plan_code: &str,
) -> Result<account::Order, Failure> {
    let kind = Kind::PlanChange(account::PlanChange {
        family_code: "SUPPORT".to_owned(),
        plan_code: plan_code.to_owned(),
        ..account::PlanChange::default()
    });
    ordered(clients, account_id, kind).await
}

/// An order by its whole flow: quote, confirmations, commit.
pub async fn ordered(
    clients: &Clients,
    account_id: &str,
    kind: Kind,
) -> Result<account::Order, Failure> {
    let mut client = clients.account.clone();
    let request = account::CreateOrderRequest {
        account_id: account_id.to_owned(),
        kind: Some(kind),
        request_id: request_id(),
    };
    let order = client
        .create_order(request)
        .await
        .map_err(refused)?
        .into_inner()
        .order
        .ok_or("no order")?;
    for _ in 0..order.confirmations_required {
        let request = account::ConfirmOrderRequest {
            order_id: order.order_id.clone(),
            request_id: request_id(),
        };
        client.confirm_order(request).await.map_err(refused)?;
    }
    let request = account::CommitOrderRequest {
        order_id: order.order_id.clone(),
        request_id: request_id(),
    };
    client
        .commit_order(request)
        .await
        .map_err(refused)?
        .into_inner()
        .order
        .ok_or_else(|| "no order".into())
}

fn rows<T: for<'a> Deserialize<'a>>(file: &Path) -> Result<Vec<T>, Failure> {
    let reader =
        csv::Reader::from_path(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(reader.into_deserialize().collect::<Result<_, _>>()?)
}

/// An instant.
pub fn at(text: &str) -> Result<DateTime<Utc>, Failure> {
    Ok(text.parse::<DateTime<Utc>>()?)
}
