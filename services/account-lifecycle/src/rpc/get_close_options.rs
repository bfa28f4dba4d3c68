//! `AccountService.GetCloseOptions`

use chassis::{Caller, wire};
use proto::account::v1 as pb;
use proto::account::v1::get_close_options_response::Blocker;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use values::{AccountId, OrderId};

use super::close_account::{options, policy};
use super::convert;
use crate::clients::passes;
use crate::ctx::Ctx;
use crate::domain::account::AccountType;
use crate::domain::closing::{Asked, CloseOption, CloseRefused, Policy, purge_at, way};
use crate::domain::order::State;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::ops::soft_close::steps;
use crate::store::accounts::Account;
use crate::store::{Tenant, orders};

#[expect(clippy::too_many_lines, reason = "one response, field by field")]
pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::GetCloseOptionsRequest,
) -> Result<pb::GetCloseOptionsResponse, Error> {
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let account = permit::allowed(ctx, caller, id, Action::See).await?;
    if account.closed_at.is_some() {
        return Err(Error::AccountClosed(id));
    }
    let now = ctx.clock.now().await?;
    let profile = ctx.profile_of(&account).await?;
    let close = policy(&profile, id)?;
    let trial = account.r#type == AccountType::Trial;
    let asked = Asked {
        by_operator: false,
        trial,
        invoiced: account.invoiced,
        suspensions: &account.suspensions,
        option: (!trial).then_some(CloseOption::DeleteAll),
        acknowledged: &close.trial_acknowledgement_codes,
    };
    let options = options(close)?;
    let rules = Policy {
        invoiced_by_operator: close.invoiced_by_operator,
        blocked: &close.blocked_suspension_reason_codes,
        options: &options,
        acknowledgements: &close.trial_acknowledgement_codes,
    };
    let purge_at = purge_at(now, close.data_purge_days);
    let mut answer = pb::GetCloseOptionsResponse {
        purge_time: Some(wire::timestamp(purge_at)),
        reauth_max_age_minutes: close.reauth_max_age_minutes,
        ..pb::GetCloseOptionsResponse::default()
    };
    match way(&asked, &rules) {
        Err(CloseRefused::ContactAccountManager) => {
            "CONTACT_ACCOUNT_MANAGER".clone_into(&mut answer.contact_code);
            return Ok(answer);
        }
        Err(CloseRefused::ContactSupport) => {
            "CONTACT_SUPPORT".clone_into(&mut answer.contact_code);
            return Ok(answer);
        }
        Ok(_) | Err(CloseRefused::OptionRequired(_) | CloseRefused::AcknowledgementMissing(_)) => {}
    }
    if trial {
        answer
            .options
            .push(convert::close_option(CloseOption::Close).into());
        answer
            .acknowledgement_codes
            .clone_from(&close.trial_acknowledgement_codes);
    } else {
        let of_root = account.root_id == account.account_id;
        let known = options.into_iter();
        let known = known.filter(|it| of_root || *it != CloseOption::KeepData);
        let known = known.map(|it| i32::from(convert::close_option(it)));
        answer.options.extend(known);
    }
    answer.close_blockers = blockers(ctx, &account).await?;
    if account.root_id == account.account_id {
        let (_, barred) = steps(ctx, (id, &profile), false).await?;
        answer.soft_close_blockers = barred
            .into_iter()
            .map(|(reason, resource)| blocker(&reason, resource))
            .collect();
        let would = ctx.prepare_closing(account.root_id, now, true).await;
        let would = match would {
            Ok(would) => would,
            // A run or a payment under way, or days that can't be rated: what it comes to is not known yet.
            Err(status) if status.code() == Code::FailedPrecondition || passes(&status) => {
                // The order whose payment it is has been told.
                let told = answer.close_blockers.iter();
                let order = told
                    .map(|it| it.reason.as_str())
                    .any(|it| it == "ORDER_UNDER_WAY");
                let of_billing =
                    of_billing(&status).filter(|it| !order || it.reason != "PAYMENT_UNDER_WAY");
                answer.close_blockers.extend(of_billing);
                return Ok(answer);
            }
            Err(status) => return Err(status.into()),
        };
        if !sees_money(ctx, caller, id).await? {
            return Ok(answer);
        }
        let some = |money: Option<proto::r#type::v1::Money>| {
            money.filter(|it| it.amount.bytes().any(|b| (b'1'..=b'9').contains(&b)))
        };
        answer.estimated_settlement_amount = some(would.settlement);
        answer.estimated_refund_amount = some(would.refund);
        answer.estimated_forfeited_amount = would
            .forfeited
            .filter(|it| it.amount.bytes().any(|b| (b'1'..=b'9').contains(&b)));
    }
    Ok(answer)
}

/// Whether the caller's roles let them see the account's money, as `GetBalance` asks.
async fn sees_money(ctx: &Ctx, caller: &Caller, id: AccountId) -> Result<bool, Error> {
    match permit::allowed(ctx, caller, id, Action::SeeMoney).await {
        Ok(_) => Ok(true),
        Err(Error::RoleNotAllowed(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What prevents a closing here and in `plan`, as `CloseAccount` would say: orders under way, and a contract that the
/// account pays for.
async fn blockers(ctx: &Ctx, account: &Account) -> Result<Vec<Blocker>, Error> {
    let id = AccountId::from_uuid(account.account_id);
    let mut found = Vec::new();
    if account.root_id == account.account_id {
        let mut tx = ctx.db.begin_as(Tenant::Root(account.root_id)).await?;
        let orders = orders::under_way(&mut tx, account.root_id).await?;
        tx.commit().await?;
        for (order, state, by_operator) in orders {
            let waits = state == State::AwaitingSettlement;
            let remedy = match (waits, by_operator) {
                (false, _) => "WAIT",
                (true, false) => "CANCEL_ORDER",
                // Customers don't cancel what an operator has ordered.
                (true, true) => "CONTACT_SUPPORT",
            };
            found.push(Blocker {
                reason: "ORDER_UNDER_WAY".to_owned(),
                resource: OrderId::from_uuid(order).to_string(),
                remedy_code: remedy.to_owned(),
            });
        }
    }
    let contract = ctx.pays_for(id).await?;
    found.extend(contract.map(|contract| blocker("CONTRACT_PAYER", contract)));
    Ok(found)
}

/// What prevents a closing in `billing`, by its refusal.
fn of_billing(status: &Status) -> Option<Blocker> {
    let info = status.get_details_error_info()?;
    let family = info.metadata.get("familyCode").cloned();
    Some(blocker(&info.reason, family.unwrap_or_default()))
}

/// A blocker with what ends it, which follows from its reason.
fn blocker(reason: &str, resource: String) -> Blocker {
    let remedy = match reason {
        "RUN_UNDER_WAY" | "PAYMENT_UNDER_WAY" => "WAIT",
        contract if contract.starts_with("CONTRACT") => "CONTACT_ACCOUNT_MANAGER",
        _ => "CONTACT_SUPPORT",
    };
    Blocker {
        reason: reason.to_owned(),
        resource,
        remedy_code: remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_blocker_says_what_ends_it() {
        for (reason, remedy) in [
            ("RUN_UNDER_WAY", "WAIT"),
            ("PAYMENT_UNDER_WAY", "WAIT"),
            ("CONTRACT_PAYER", "CONTACT_ACCOUNT_MANAGER"),
            ("STILL_PARKED", "CONTACT_SUPPORT"),
        ] {
            let told = blocker(reason, "a resource".to_owned());
            assert_eq!(
                (told.reason, told.remedy_code.as_str()),
                (reason.to_owned(), remedy)
            );
        }
    }
}
