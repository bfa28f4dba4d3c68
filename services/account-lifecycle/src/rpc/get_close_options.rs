//! `AccountService.GetCloseOptions`

use chassis::{Caller, wire};
use chrono::TimeDelta;
use proto::account::v1 as pb;
use tonic::Code;
use values::AccountId;

use super::close_account::policy;
use super::soft_close::steps;
use crate::ctx::Ctx;
use crate::domain::closing::{Asked, Policy, way};
use crate::domain::closing::{CloseRefused, DELETE_ALL, KEEP_DATA};
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;

#[expect(clippy::too_many_lines, reason = "one answer, field by field")]
pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::GetCloseOptionsRequest,
) -> Result<pb::GetCloseOptionsResponse, Error> {
    use pb::closing::Option as Way;
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let account = permit::allowed(ctx, caller, id, Action::See).await?;
    if account.closed_at.is_some() {
        return Err(Error::AccountClosed(id));
    }
    let now = ctx.clock.now().await?;
    let profile = ctx.profile_of(&account).await?;
    let close = policy(&profile, id)?;
    let trial = account.r#type == "TRIAL";
    let asked = Asked {
        by_operator: false,
        trial,
        invoiced: account.invoiced,
        suspensions: &account.suspensions,
        option: if trial { "" } else { DELETE_ALL },
        acknowledged: &close.trial_acknowledgement_codes,
    };
    let rules = Policy {
        invoiced_by_operator: close.invoiced_by_operator,
        blocked: &close.blocked_suspension_reason_codes,
        options: &close.full_option_codes,
        acknowledgements: &close.trial_acknowledgement_codes,
    };
    let purge_at = now + TimeDelta::days(i64::from(close.data_purge_days));
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
        answer.options.push(Way::Close.into());
        answer
            .acknowledgement_codes
            .clone_from(&close.trial_acknowledgement_codes);
    } else {
        let of_root = account.root_id == account.account_id;
        let known = close
            .full_option_codes
            .iter()
            .filter(|code| of_root || *code != KEEP_DATA)
            .map(|code| match code.as_str() {
                KEEP_DATA => i32::from(Way::KeepAccountData),
                _ => Way::DeleteAllDataAndSettings.into(),
            });
        answer.options.extend(known);
    }
    if account.root_id == account.account_id {
        let (_, blockers) = steps(ctx, (id, &profile), false).await?;
        answer.soft_close_blockers = blockers
            .into_iter()
            .map(|(reason, resource)| pb::get_close_options_response::Blocker { reason, resource })
            .collect();
        let would = ctx.prepare_closing(account.root_id, now, true).await;
        let would = match would {
            Ok(would) => would,
            // A run or a payment under way: what it comes to is not known yet.
            Err(status) if status.code() == Code::FailedPrecondition => return Ok(answer),
            Err(status) => return Err(status.into()),
        };
        let some = |money: Option<proto::r#type::v1::Money>| {
            money.filter(|it| it.amount.bytes().any(|b| (b'1'..=b'9').contains(&b)))
        };
        answer.estimated_settlement_amount = some(would.settlement);
        answer.estimated_refund_amount = some(would.refund);
    }
    Ok(answer)
}
