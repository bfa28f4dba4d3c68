//! `perdiem invoice show|explain|pdf`

use std::path::PathBuf;

use proto::billing::v1 as pb;

use crate::Failure;
use crate::connect::{Clients, refused};
use crate::show::{self, Output};

/// An invoice with its lines.
pub async fn get(clients: &Clients, id: &str) -> Result<pb::Invoice, Failure> {
    let request = pb::GetInvoiceRequest {
        invoice_id: id.to_owned(),
    };
    let answer = clients
        .billing
        .clone()
        .get_invoice(request)
        .await
        .map_err(refused)?;
    answer
        .into_inner()
        .invoice
        .ok_or_else(|| "billing gave no invoice".into())
}

/// The newest invoice of an account.
pub async fn newest(clients: &Clients, account_id: &str) -> Result<pb::Invoice, Failure> {
    let request = pb::ListInvoicesRequest {
        account_id: account_id.to_owned(),
        page_size: 1,
        ..pb::ListInvoicesRequest::default()
    };
    let answer = clients
        .billing
        .clone()
        .list_invoices(request)
        .await
        .map_err(refused)?
        .into_inner();
    let newest = answer
        .invoices
        .into_iter()
        .next()
        .ok_or("the account has no invoice")?;
    get(clients, &newest.invoice_id).await
}

/// Writes an invoice as PDF into a file, named by its number where no other is given.
pub async fn write_pdf(clients: &Clients, id: &str, out: Option<PathBuf>) -> Result<(), Failure> {
    let request = pb::RenderInvoiceRequest {
        invoice_id: id.to_owned(),
        ..pb::RenderInvoiceRequest::default()
    };
    let mut client = clients.billing.clone();
    let rendered = client.render_invoice(request).await.map_err(refused)?;
    let file = match out {
        Some(file) => file,
        None => format!("{}.pdf", get(clients, id).await?.number).into(),
    };
    std::fs::write(&file, rendered.into_inner().pdf)?;
    show::line(format!("written: {}", file.display()));
    Ok(())
}

/// Prints an invoice; with `explain`, how each line came about.
pub fn print(invoice: &pb::Invoice, explain: bool, output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        return show::json("perdiem.billing.v1.Invoice", invoice);
    }
    let money = |money: &Option<proto::r#type::v1::Money>| money.clone().unwrap_or_default();
    let total = money(&invoice.total);
    show::line(format!("{}  {}", invoice.number, invoice.invoice_id));
    show::line(format!(
        "  {} for {}, {} to {}",
        invoice.family_code, invoice.account_id, invoice.period_start_date, invoice.period_end_date
    ));
    let rows: Vec<Vec<String>> = invoice
        .lines
        .iter()
        .map(|line| {
            let base = line.usage_base.clone().unwrap_or_default().amount;
            vec![
                line.line_number.to_string(),
                if line.plan_code.is_empty() {
                    line.kind_code.to_lowercase()
                } else {
                    line.plan_code.clone()
                },
                line.start_date.clone(),
                format!("{}/{}", line.active_days, line.days_in_month),
                short(&base),
                short(&line.total_monthly_charge.clone().unwrap_or_default().amount),
                line.amount.clone().unwrap_or_default().amount,
            ]
        })
        .collect();
    show::table(
        &[
            "#",
            "plan",
            "from",
            "days",
            "usage",
            "whole month",
            "amount",
        ],
        &rows,
    );
    for tax in &invoice.taxes {
        show::line(format!("  {} {}", tax.tax_code, money(&tax.amount).amount));
    }
    let paid = format!(
        "{} {}, {} from the balance, {} by payment, {} due",
        total.amount,
        total.currency_code,
        money(&invoice.paid_from_balance).amount,
        money(&invoice.paid_by_charge).amount,
        money(&invoice.amount_due).amount
    );
    show::lines(&show::labelled("  total ", &paid));
    if explain {
        for line in &invoice.lines {
            show::lines(&show::labelled(
                &format!("  {}. ", line.line_number),
                &format!("{} (rounded {})", line.explanation, line.rounding),
            ));
        }
    }
    Ok(())
}

/// An amount of six places with no more than it needs, but two.
fn short(amount: &str) -> String {
    let Some((whole, fraction)) = amount.split_once('.') else {
        return amount.to_owned();
    };
    let kept = fraction.trim_end_matches('0');
    format!("{whole}.{kept:0<2}")
}
