//! `perdiem demo journeys`: a trial's whole life over fourteen months, by public calls and the clock only. After
//! each step it prints the date, what was charged, the state, and the balance, which equals the ledger's sum.

use std::path::Path;

use chrono::{DateTime, Utc};
use proto::account::v1 as account;
use proto::account::v1::create_order_request::Kind;
use proto::account::v1::review_kyc_request::Action;
use proto::billing::v1 as billing;
use proto::payments::v1 as payments;
use proto::r#type::v1::{Amount as WireAmount, Money};
use tonic::Code;
use values::{Amount, Currency};

use crate::connect::{Clients, Urls, refused, request_id, timestamp};
use crate::demo::{at, ordered};
use crate::suite::Suite;
use crate::{Failure, catalogue, clock, show};

const FAMILY: &str = "PLATFORM";
/// The ledger accounts that a balance is the sum of.
const OWN: [&str; 4] = ["TRIAL", "PROMO", "PAID", "OVERDRAFT"];
/// The documents of a business in India whose signatory is a director.
const DOCUMENTS: [&str; 4] = [
    "BUSINESS_IDENTITY",
    "BUSINESS_ADDRESS",
    "SIGNATORY_ID",
    "BUSINESS_PAN",
];

/// Whose life it is, and who looks on.
struct Life {
    urls: Urls,
    operator: Clients,
    owner: Clients,
    id: String,
    /// Charges seen so far.
    charges: usize,
    rows: Vec<Vec<String>>,
}

/// Plays it on a fresh suite whose clocks stand.
#[expect(clippy::too_many_lines, reason = "the story, read top to bottom")]
pub async fn play(suite: &Suite, data: &Path) -> Result<(), Failure> {
    let urls = suite.settings.urls.clone();
    let operator = Clients::new(&urls, &suite.keys.any_operator()?)?;
    clock::set(&urls, at("2026-04-01T06:00:00Z")?).await?;
    catalogue::import(&operator, &data.join("catalogue.yaml"), true).await?;
    let user = account::CreateUserRequest {
        email: "asha@example.com".to_owned(),
        display_name: "Asha".to_owned(),
        request_id: request_id(),
    };
    let mut client = operator.account.clone();
    let user = client.create_user(user).await.map_err(refused)?;
    let user = user.into_inner().user.ok_or("no user")?.user_id;
    let owner = Clients::new(&urls, &suite.keys.person(&user)?)?;
    let id = trial(&owner).await?;
    let mut life = Life {
        urls,
        operator,
        owner,
        id,
        charges: 0,
        rows: Vec::new(),
    };
    life.told("a trial begins, with its credit").await?;

    life.kyc().await?;
    life.told("KYC submitted, reviewed and approved").await?;

    life.goes_to("2026-04-03T06:00:00Z").await?;
    let upi = life.method(("UPI", "tok_ok_upi", "GOOGLE_PAY")).await?;
    life.upgrade(("starter", "MONTHLY", "1000.00"), &upi)
        .await?;
    life.told("upgraded to Starter, paid by UPI").await?;

    let visa = life.method(("CARD", "tok_ok_visa", "")).await?;
    life.recharges().await?;
    life.told("a card is saved, auto-recharge is switched on")
        .await?;

    life.goes_to("2026-04-20T06:00:00Z").await?;
    life.texts("3000").await?;
    life.told("3,000 messages: the balance falls below 500.00 and is filled")
        .await?;

    life.order(Kind::PlanChange(plan("growth"))).await?;
    life.goes_to("2026-05-03T06:00:00Z").await?;
    life.told("renewed, on Growth as chosen in April").await?;

    life.goes_to("2026-05-10T06:00:00Z").await?;
    life.order(Kind::PlanChange(plan("starter"))).await?;
    let switch = account::SwitchBillingCycleRequest {
        account_id: life.id.clone(),
        family_code: FAMILY.to_owned(),
        billing_cycle_code: "ANNUAL".to_owned(),
        request_id: request_id(),
    };
    let mut client = life.operator.account.clone();
    client.switch_billing_cycle(switch).await.map_err(refused)?;
    life.told("Starter from the next cycle, and by the year, as support notes")
        .await?;
    life.goes_to("2026-06-03T06:00:00Z").await?;
    life.told("renewed for a year: 12 x 2,000.00 less 15 %, and tax")
        .await?;

    life.goes_to("2027-05-20T06:00:00Z").await?;
    life.method(("CARD", "tok_declined_insufficient_funds", ""))
        .await?;
    life.without(&visa).await?;
    life.goes_to("2027-06-03T06:00:00Z").await?;
    life.told("the year is over, and the card is declined")
        .await?;
    life.goes_to("2027-06-11T06:00:00Z").await?;
    life.told("declined on the 1st, 3rd and 7th day too")
        .await?;

    life.goes_to("2027-06-12T06:00:00Z").await?;
    let card = life.method(("CARD", "tok_ok_mastercard", "")).await?;
    life.upgrade(("starter", "MONTHLY", "1000.00"), &card)
        .await?;
    life.told("back with another card, by the month").await?;

    life.goes_to("2027-06-20T06:00:00Z").await?;
    let closed = life.close().await?;
    life.told("closed by its owner").await?;
    life.goes_to("2027-07-20T06:00:00Z").await?;
    life.told("thirty days later: its data are deleted").await?;
    let refund = closed.refund_amount.unwrap_or_default();
    show::table(&["date", "what", "charged", "state", "balance"], &life.rows);
    show::line(format!(
        "refund {} {} to the payments it came from, due by {}; data to be deleted from {} on",
        refund.currency_code,
        refund.amount,
        closed.refund_due_date,
        day(closed.purge_time)
    ));
    life.refunds().await?;
    life.history().await?;
    life.receipt().await
}

/// A new trial that is taxed in Maharashtra.
async fn trial(owner: &Clients) -> Result<String, Failure> {
    let request = account::CreateAccountRequest {
        profile_code: "india".to_owned(),
        display_name: "Asha Traders".to_owned(),
        request_id: request_id(),
        ..account::CreateAccountRequest::default()
    };
    let mut client = owner.account.clone();
    let made = client.create_account(request).await.map_err(refused)?;
    let id = made.into_inner().account.ok_or("no account")?.account_id;
    let details = account::UpdateBillingDetailsRequest {
        account_id: id.clone(),
        billing_details: Some(account::BillingDetails {
            recipient_name: "Asha Traders".to_owned(),
            address: "2 MG Road, Pune".to_owned(),
            country_code: "IN".to_owned(),
            state_code: "MH".to_owned(),
            ..account::BillingDetails::default()
        }),
        request_id: request_id(),
        ..account::UpdateBillingDetailsRequest::default()
    };
    client
        .update_billing_details(details)
        .await
        .map_err(refused)?;
    Ok(id)
}

fn plan(code: &str) -> account::PlanChange {
    account::PlanChange {
        family_code: FAMILY.to_owned(),
        plan_code: code.to_owned(),
        ..account::PlanChange::default()
    }
}

fn rupees(amount: &str) -> Money {
    Money {
        currency_code: "INR".to_owned(),
        amount: amount.to_owned(),
    }
}

fn day(at: Option<prost_types::Timestamp>) -> String {
    let at = at.and_then(|it| DateTime::<Utc>::from_timestamp(it.seconds, 0));
    at.map(|at| at.format("%Y-%m-%d").to_string())
        .unwrap_or_default()
}

fn micros(amount: Option<WireAmount>) -> Result<i64, Failure> {
    let amount = amount.ok_or("no amount")?;
    let currency: Currency = amount.currency_code.parse()?;
    Ok(Amount::parse(&amount.amount, currency)?.micros())
}

impl Life {
    async fn goes_to(&self, to: &str) -> Result<(), Failure> {
        clock::advance(&self.urls, at(to)?).await
    }

    /// Notes how everything stands; fails when the balance is not the ledger's sum.
    async fn told(&mut self, what: &str) -> Result<(), Failure> {
        // What the step has set off comes to its end first.
        let now = clock::now(&self.urls).await?;
        clock::advance(&self.urls, now).await?;
        let balance = self.balance().await?;
        let charged = self.charged().await?;
        let row = [
            now.format("%Y-%m-%d").to_string(),
            what.to_owned(),
            charged,
            self.state().await?,
            Amount::from_micros(balance, Currency::Inr).to_string(),
        ];
        self.rows.push(row.to_vec());
        Ok(())
    }

    /// The balance, which is what the ledger's entries come to.
    async fn balance(&self) -> Result<i64, Failure> {
        let request = account::GetBalanceRequest {
            account_id: self.id.clone(),
            read_time: None,
        };
        let mut customer = self.owner.customers.clone();
        let answer = customer.get_balance(request).await.map_err(refused)?;
        let balance = micros(answer.into_inner().balance)?;
        let mut client = self.operator.billing.clone();
        let mut sum = 0;
        let mut page_token = String::new();
        loop {
            let request = billing::ListEntriesRequest {
                account_id: self.id.clone(),
                page_size: 500,
                page_token,
            };
            let page = client.list_entries(request).await.map_err(refused)?;
            let page = page.into_inner();
            for entry in page.entries {
                let amount = micros(entry.amount)?;
                if OWN.contains(&entry.credit_account.as_str()) {
                    sum += amount;
                }
                if OWN.contains(&entry.debit_account.as_str()) {
                    sum -= amount;
                }
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        if balance == sum {
            Ok(balance)
        } else {
            Err(format!("the balance is {balance} millionths, the ledger's sum {sum}").into())
        }
    }

    /// What was charged since it was asked last, and what was declined.
    async fn charged(&mut self) -> Result<String, Failure> {
        let request = payments::ListChargesRequest {
            account_id: self.id.clone(),
            page_size: 500,
            ..payments::ListChargesRequest::default()
        };
        let mut client = self.operator.payments.clone();
        let listed = client.list_charges(request).await.map_err(refused)?;
        let charges = listed.into_inner().charges;
        let new = charges.len().saturating_sub(self.charges);
        self.charges = charges.len();
        let (paid, declined): (Vec<_>, Vec<_>) = charges
            .iter()
            .take(new)
            .rev()
            .partition(|it| it.state() == payments::MovementState::Succeeded);
        let amount = |it: &payments::Charge| it.amount.clone().unwrap_or_default().amount;
        let mut words: Vec<_> = paid.into_iter().map(amount).collect();
        if !declined.is_empty() {
            words.push(format!("{} declined", declined.len()));
        }
        Ok(words.join(", "))
    }

    async fn state(&self) -> Result<String, Failure> {
        let request = account::GetAccountRequest {
            account_id: self.id.clone(),
            read_time: None,
        };
        let mut client = self.owner.account.clone();
        let found = client.get_account(request).await.map_err(refused)?;
        let found = found.into_inner().account.ok_or("no account")?;
        let word = |name: &str, prefix: &str| name.trim_start_matches(prefix).to_owned();
        let mut words = vec![
            word(found.r#type().as_str_name(), "TYPE_"),
            word(found.status().as_str_name(), "STATUS_"),
            word(found.mode().as_str_name(), "MODE_"),
        ];
        let request = account::GetCurrentPlanRequest {
            account_id: self.id.clone(),
            family_code: FAMILY.to_owned(),
        };
        match client.get_current_plan(request).await {
            Ok(answer) => {
                let current = answer.into_inner().current_plan.unwrap_or_default();
                words.push(current.plan_code.clone());
                words.push(current.billing_cycle_code.clone());
                words.push(word(current.state().as_str_name(), "STATE_"));
            }
            // Closed, or without a plan.
            Err(status) if matches!(status.code(), Code::NotFound | Code::FailedPrecondition) => {}
            Err(status) => return Err(refused(status)),
        }
        words.retain(|word| !word.is_empty());
        Ok(words.join(" "))
    }

    async fn kyc(&self) -> Result<(), Failure> {
        let document = |code: &str| account::KycDocument {
            document_code: code.to_owned(),
            file_name: format!("{}.pdf", code.to_lowercase()),
            file_type_code: "PDF".to_owned(),
            size_bytes: 120_000,
            digest: "0".repeat(64),
        };
        let request = account::SubmitKycRequest {
            account_id: self.id.clone(),
            country_code: "IN".to_owned(),
            legal_name: "Asha Traders Pvt. Ltd.".to_owned(),
            signatory_is_director: true,
            documents: DOCUMENTS.into_iter().map(document).collect(),
            request_id: request_id(),
        };
        let mut client = self.owner.account.clone();
        let submitted = client.submit_kyc(request).await.map_err(refused)?;
        let submitted = submitted
            .into_inner()
            .kyc_submission
            .ok_or("no submission")?;
        let mut client = self.operator.account.clone();
        for action in [Action::TakeUp, Action::Approve] {
            let request = account::ReviewKycRequest {
                kyc_id: submitted.kyc_id.clone(),
                action: action.into(),
                request_id: request_id(),
                ..account::ReviewKycRequest::default()
            };
            client.review_kyc(request).await.map_err(refused)?;
        }
        Ok(())
    }

    /// A payment method, which becomes the default.
    async fn method(&self, (code, token, app): (&str, &str, &str)) -> Result<String, Failure> {
        let request = account::AddPaymentMethodRequest {
            account_id: self.id.clone(),
            method_code: code.to_owned(),
            provider_token: token.to_owned(),
            app_code: app.to_owned(),
            default_method: true,
            request_id: request_id(),
            ..account::AddPaymentMethodRequest::default()
        };
        let mut client = self.owner.customers.clone();
        let added = client.add_payment_method(request).await.map_err(refused)?;
        let added = added.into_inner().payment_method.ok_or("no method")?;
        Ok(added.payment_method_id)
    }

    /// Removes a payment method.
    async fn without(&self, method: &str) -> Result<(), Failure> {
        let request = account::RemovePaymentMethodRequest {
            account_id: self.id.clone(),
            payment_method_id: method.to_owned(),
            request_id: request_id(),
        };
        let mut client = self.owner.customers.clone();
        client
            .remove_payment_method(request)
            .await
            .map_err(refused)?;
        Ok(())
    }

    async fn upgrade(
        &self,
        (plan, cycle, credit): (&str, &str, &str),
        method: &str,
    ) -> Result<(), Failure> {
        self.order(Kind::Upgrade(account::Upgrade {
            family_code: FAMILY.to_owned(),
            plan_code: plan.to_owned(),
            billing_cycle_code: cycle.to_owned(),
            credit_amount: Some(rupees(credit)),
            payment_method_id: method.to_owned(),
            ..account::Upgrade::default()
        }))
        .await
    }

    async fn order(&self, kind: Kind) -> Result<(), Failure> {
        let order = ordered(&self.owner, &self.id, kind).await?;
        if order.state() == account::order::State::Completed {
            Ok(())
        } else {
            Err(format!("order {} is {:?}", order.order_id, order.state()).into())
        }
    }

    async fn recharges(&self) -> Result<(), Failure> {
        let request = account::SetAutoRechargeRequest {
            account_id: self.id.clone(),
            auto_recharge: Some(billing::AutoRecharge {
                enabled: true,
                ..billing::AutoRecharge::default()
            }),
            request_id: request_id(),
        };
        let mut client = self.owner.customers.clone();
        client.set_auto_recharge(request).await.map_err(refused)?;
        Ok(())
    }

    /// Messages that are rated, so many parts.
    async fn texts(&self, parts: &str) -> Result<(), Failure> {
        let now = clock::now(&self.urls).await?;
        let event = billing::UsageEvent {
            event_id: request_id(),
            account_id: self.id.clone(),
            category: "sms".to_owned(),
            usage_time: Some(timestamp(now)),
            quantity: parts.to_owned(),
            ..billing::UsageEvent::default()
        };
        let request = billing::RecordUsageRequest {
            source: "journeys".to_owned(),
            events: vec![event],
        };
        let mut client = self.operator.billing.clone();
        client.record_usage(request).await.map_err(refused)?;
        Ok(())
    }

    async fn close(&self) -> Result<account::Closing, Failure> {
        let request = account::CloseAccountRequest {
            account_id: self.id.clone(),
            option: account::closing::Option::DeleteAllDataAndSettings.into(),
            acknowledgement_codes: Vec::new(),
            request_id: request_id(),
        };
        let mut client = self.owner.account.clone();
        let closed = client.close_account(request).await.map_err(refused)?;
        let closed = closed.into_inner().account.ok_or("no account")?;
        closed.closing.ok_or_else(|| "no closing".into())
    }

    async fn refunds(&self) -> Result<(), Failure> {
        let request = account::ListRefundsRequest {
            account_id: self.id.clone(),
            ..account::ListRefundsRequest::default()
        };
        let mut client = self.owner.customers.clone();
        let listed = client.list_refunds(request).await.map_err(refused)?;
        for it in listed.into_inner().refunds {
            let amount = it.amount.clone().unwrap_or_default();
            show::line(format!(
                "  {} {} {} of {}",
                amount.currency_code,
                amount.amount,
                it.state()
                    .as_str_name()
                    .trim_start_matches("MOVEMENT_STATE_"),
                it.charge_id
            ));
        }
        Ok(())
    }

    /// What was deleted, and what the law keeps.
    async fn receipt(&self) -> Result<(), Failure> {
        let request = account::GetDeletionReceiptRequest {
            account_id: self.id.clone(),
        };
        let mut client = self.owner.account.clone();
        let receipt = client
            .get_deletion_receipt(request)
            .await
            .map_err(refused)?;
        let receipt = receipt.into_inner().deletion_receipt.unwrap_or_default();
        show::line(format!("deleted on {}:", day(receipt.erase_time)));
        for part in receipt.parts {
            for (what, lines) in [("erased", part.erased), ("kept", part.kept)] {
                for line in lines {
                    show::line(format!("  {:<17}  {what:<6}  {line}", part.service));
                }
            }
        }
        Ok(())
    }

    /// What its history tells, oldest first.
    async fn history(&self) -> Result<(), Failure> {
        let request = account::ListAccountHistoryRequest {
            account_id: self.id.clone(),
            page_size: 500,
            ..account::ListAccountHistoryRequest::default()
        };
        let mut client = self.owner.account.clone();
        let told = client
            .list_account_history(request)
            .await
            .map_err(refused)?;
        show::line("its history:");
        for it in told.into_inner().transitions.into_iter().rev() {
            show::line(format!(
                "  {}  {:<5} {} -> {} {} {}",
                day(it.transition_time),
                it.state_code,
                it.from_code,
                it.to_code,
                it.transition_code,
                it.reason
            ));
        }
        Ok(())
    }
}
