//! What invoices and credit notes say besides lines, taxes and totals: for an Indian issuer, the fields of rules 46 and
//! 53 of the CGST Rules.

use chassis::wire::pb_money;
use chrono::NaiveDate;
use proto::billing::v1 as pb;
use proto::r#type::v1::Money as WireMoney;
use values::Money;

use crate::clients::Profile;
use crate::domain::tax::TaxPolicy;
use crate::domain::wording;
use crate::store::recipients::Recipient;

/// Title of a credit note.
const CREDIT_NOTE: &str = "Credit note";
/// What a tax id is called where it is not known to have a name.
const TAX_ID: &str = "Tax ID";

/// Who issues a document, to whom, and under which tax.
#[derive(Debug, Clone, Copy)]
pub struct Paper<'a> {
    /// The profile, with the issuer.
    pub profile: &'a Profile,
    /// The tax of the issuer's country.
    pub policy: Option<&'a TaxPolicy>,
    /// The recipient at the time of issue.
    pub recipient: &'a Recipient,
}

impl Paper<'_> {
    /// The particulars of an invoice, whose lines, taxes and `paid_by_overdraft` are set.
    pub fn of_invoice(&self, invoice: &pb::Invoice) -> pb::Particulars {
        let total = money(invoice.total.as_ref());
        let mut notes = Vec::new();
        if let Some(overdraft) = money(invoice.paid_by_overdraft.as_ref()) {
            notes.push(format!(
                "{} of this invoice was paid by overdraft: it is owed, and credit added later repays it first.",
                values::shown(overdraft)
            ));
        }
        let from_balance = money(invoice.paid_from_balance.as_ref());
        let prepaid = from_balance.is_some_and(|it| 0 < it.minor());
        let taxable = self.policy.is_some_and(|it| 0 < it.rate_bps) && !self.is_export();
        if prepaid && taxable && invoice.taxes.is_empty() {
            notes.push(
                "Paid from the balance. Tax is charged on the invoices by which credit is bought."
                    .to_owned(),
            );
        }
        pb::Particulars {
            payment_terms: self.terms(invoice),
            notes,
            ..self.document(
                &self.profile.sender.invoice_title,
                (total, net(total, &invoice.taxes)),
            )
        }
    }

    /// The particulars of a credit note of `amount`, whose taxes are set.
    pub fn of_credit_note(&self, note: &pb::CreditNote) -> pb::Particulars {
        let amount = money(note.amount.as_ref());
        self.document(CREDIT_NOTE, (amount, net(amount, &note.taxes)))
    }

    fn document(
        &self,
        title: &str,
        (total, taxable): (Option<Money>, Option<Money>),
    ) -> pb::Particulars {
        let sender = &self.profile.sender;
        pb::Particulars {
            title: title.to_owned(),
            supplier: Some(pb::Party {
                display_name: sender.name.clone(),
                address_lines: sender.address.lines().map(str::to_owned).collect(),
                tax_id: sender.tax_id.clone(),
                tax_id_label: sender.tax_id_label.clone(),
            }),
            recipient: self.recipient(),
            place_of_supply: self.place_of_supply(),
            reverse_charge_note: sender.reverse_charge_note.clone(),
            export_statement: if self.is_export() {
                sender.export_statement.clone()
            } else {
                String::new()
            },
            signature_note: sender.signature_note.clone(),
            taxable_value: taxable.map(pb_money),
            total_in_words: total.map(wording::amount).unwrap_or_default(),
            payment_terms: String::new(),
            notes: Vec::new(),
        }
    }

    /// The recipient by the lines that account-lifecycle sends: name, address and, last, the tax id.
    fn recipient(&self) -> Option<pb::Party> {
        let lines = self.recipient.recipient.lines().map(str::trim);
        let mut lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        let last = lines.last().copied().unwrap_or_default();
        let tax_id = last
            .strip_prefix(TAX_ID)
            .and_then(|id| id.strip_prefix(' '));
        if tax_id.is_some() {
            lines.pop();
        }
        let label = if self.is_abroad() {
            TAX_ID
        } else {
            self.profile.sender.tax_id_label.as_str()
        };
        let (name, address) = lines.split_first()?;
        Some(pb::Party {
            display_name: (*name).to_owned(),
            address_lines: address.iter().map(|line| (*line).to_owned()).collect(),
            tax_id: tax_id.unwrap_or_default().to_owned(),
            tax_id_label: label.to_owned(),
        })
    }

    fn is_abroad(&self) -> bool {
        let country = &self.recipient.country_code;
        !country.is_empty() && country != &self.profile.sender.country
    }

    fn is_export(&self) -> bool {
        self.recipient.export_supply || self.is_abroad()
    }

    fn place_of_supply(&self) -> String {
        let Some(policy) = self.policy.filter(|it| !it.states.is_empty()) else {
            return String::new();
        };
        if self.is_abroad() {
            return self.recipient.country_code.clone();
        }
        let state = &self.recipient.state_code;
        policy.states.get(state).unwrap_or(state).clone()
    }

    fn terms(&self, invoice: &pb::Invoice) -> String {
        match invoice.due_date.parse::<NaiveDate>() {
            Ok(due) => format!(
                "Net {} days, due {}",
                self.profile.net_days,
                wording::day(due)
            ),
            Err(_) if invoice.state() == pb::invoice::State::Open => "Due on receipt".to_owned(),
            Err(_) => "Paid at issue".to_owned(),
        }
    }
}

/// An amount without taxes.
fn net(total: Option<Money>, taxes: &[pb::TaxLine]) -> Option<Money> {
    let total = total?;
    let taxes = taxes.iter().filter_map(|tax| money(tax.amount.as_ref()));
    let taxes = taxes.fold(0_i64, |sum, tax| sum.saturating_add(tax.minor()));
    Some(Money::from_minor(
        total.minor().saturating_sub(taxes),
        total.currency(),
    ))
}

/// An amount as sent, if it is one.
pub fn money(from: Option<&WireMoney>) -> Option<Money> {
    let from = from?;
    let currency = from.currency_code.parse().ok()?;
    Money::parse(&from.amount, currency).ok()
}
