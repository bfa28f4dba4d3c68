//! The part of the demo about a prepaid account: credit is bought, a support charge empties it, it is
//! filled by itself, and its invoices are written as PDF.

use std::path::Path;
use std::time::{Duration, Instant};

use proto::account::v1 as account;
use proto::account::v1::create_order_request::Kind;
use proto::billing::v1 as billing;
use proto::payments::v1 as payments;
use proto::r#type::v1::Money;

use crate::connect::{Clients, Urls, refused, request_id};
use crate::{Failure, clock, demo, invoice, run, show};

/// Plays it from 1 May 2026 on; the PDFs go into `folder`.
pub async fn play(
    urls: &Urls,
    (operator, customer): (&Clients, &Clients),
    owner: &str,
    folder: &Path,
) -> Result<(), Failure> {
    let id = open(operator, owner).await?;
    let order = demo::ordered(customer, &id, credits("100.00")).await?;
    let total = order.total.clone().unwrap_or_default();
    show::line(format!(
        "credit of 100.00 by card: order {} is {}, {} {} charged, invoice {}",
        order.order_id,
        order.state().as_str_name().trim_start_matches("STATE_"),
        total.amount,
        total.currency_code,
        order.invoice_id
    ));
    expect(operator, &id, "100.000000").await?;
    fill(operator, &id).await?;

    clock::advance(urls, demo::at("2026-05-16T10:00:00Z")?).await?;
    demo::change(customer, &id, "production").await?;
    clock::advance(urls, demo::at("2026-06-01T00:00:00Z")?).await?;
    let may = run::create(operator, "SUPPORT", "2026-05", false).await?;
    run::watch(operator, &may.billing_run_id, true).await?;
    // 250.00 for 16 of 31 days is 129.03: the balance falls to -29.03, and is topped up to 20.00.
    expect(operator, &id, "20.000000").await?;
    show::line(
        "production support from 16 May: 250.00 x 16/31 days = 129.03 taken from 100.00; filled by itself up to 20.00:",
    );
    for entry in entries(operator, &id).await? {
        let amount = entry.amount.clone().unwrap_or_default();
        show::line(format!(
            "  {:<9} {:>12} {} -> {}",
            entry.reason, amount.amount, entry.debit_account, entry.credit_account
        ));
    }
    std::fs::create_dir_all(folder)?;
    let request = billing::ListInvoicesRequest {
        account_id: id.clone(),
        ..billing::ListInvoicesRequest::default()
    };
    let mut client = operator.billing.clone();
    let listed = client.list_invoices(request).await.map_err(refused)?;
    for it in listed.into_inner().invoices {
        let file = folder.join(format!("{}.pdf", it.number));
        invoice::write_pdf(operator, &it.invoice_id, Some(file)).await?;
    }
    Ok(())
}

/// A prepaid account with a card that works.
async fn open(operator: &Clients, owner: &str) -> Result<String, Failure> {
    let request = account::CreateAccountRequest {
        profile_code: "global".to_owned(),
        display_name: "Prepaid By Card".to_owned(),
        owner_user_id: owner.to_owned(),
        r#type: account::account::Type::Full.into(),
        request_id: request_id(),
        ..account::CreateAccountRequest::default()
    };
    let mut client = operator.account.clone();
    let made = client.create_account(request).await.map_err(refused)?;
    let id = made.into_inner().account.ok_or("no account")?.account_id;
    let details = account::UpdateBillingDetailsRequest {
        account_id: id.clone(),
        billing_details: Some(account::BillingDetails {
            recipient_name: "Prepaid By Card Ltd".to_owned(),
            address: "12 Harbour Road\nDublin".to_owned(),
            country_code: "IE".to_owned(),
            ..account::BillingDetails::default()
        }),
        request_id: request_id(),
        ..account::UpdateBillingDetailsRequest::default()
    };
    client
        .update_billing_details(details)
        .await
        .map_err(refused)?;
    let card = payments::AddPaymentMethodRequest {
        account_id: id.clone(),
        method_code: "CARD".to_owned(),
        provider_token: "tok_ok_visa".to_owned(),
        request_id: request_id(),
        ..payments::AddPaymentMethodRequest::default()
    };
    let mut client = operator.payments.clone();
    client.add_payment_method(card).await.map_err(refused)?;
    Ok(id)
}

/// Fills the balance by itself, with the figures of the profile: below 10.00, up to 20.00, by at most 100.00.
async fn fill(operator: &Clients, id: &str) -> Result<(), Failure> {
    let recharge = billing::SetAutoRechargeRequest {
        account_id: id.to_owned(),
        auto_recharge: Some(billing::AutoRecharge {
            enabled: true,
            ..billing::AutoRecharge::default()
        }),
        request_id: request_id(),
    };
    let mut client = operator.billing.clone();
    client.set_auto_recharge(recharge).await.map_err(refused)?;
    Ok(())
}

fn credits(amount: &str) -> Kind {
    Kind::CreditPurchase(account::CreditPurchase {
        amount: Some(Money {
            currency_code: "USD".to_owned(),
            amount: amount.to_owned(),
        }),
        payment_method_id: String::new(),
    })
}

async fn entries(operator: &Clients, id: &str) -> Result<Vec<billing::LedgerEntry>, Failure> {
    let request = billing::ListEntriesRequest {
        account_id: id.to_owned(),
        page_size: 50,
        ..billing::ListEntriesRequest::default()
    };
    let mut client = operator.billing.clone();
    let listed = client.list_entries(request).await.map_err(refused)?;
    let mut entries = listed.into_inner().entries;
    entries.reverse();
    Ok(entries)
}

/// Waits until a balance is as expected: a recharge is a job of billing.
async fn expect(operator: &Clients, id: &str, balance: &str) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        let request = billing::GetBalanceRequest {
            account_id: id.to_owned(),
            read_time: None,
        };
        let mut client = operator.billing.clone();
        let answer = client.get_balance(request).await.map_err(refused)?;
        let now = answer.into_inner().balance.unwrap_or_default().amount;
        if now == balance {
            return Ok(());
        }
        if Duration::from_secs(20) < begun.elapsed() {
            return Err(format!("the balance is {now} instead of {balance}").into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
