//! Whether a plan will renew automatically (D35).

use proto::plan::v1 as plan;
use values::{AccountId, MethodId};

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::accounts::Account;

/// Warning code of a quote.
const NOT_RENEWED: &str = "NOT_RENEWED_AUTOMATICALLY";

/// The warnings for a change to a plan; none for a plan that is billed in arrears.
pub async fn warnings_of_change(
    ctx: &Ctx,
    account: &Account,
    change: &plan::Change,
    method: Option<MethodId>,
) -> Result<Vec<String>, Error> {
    let Some(to) = change.to_plan.as_ref().filter(|it| it.charge.is_none()) else {
        return Ok(Vec::new());
    };
    // The named method is charged only if an amount is due at once.
    let payer = method.filter(|_| change.prorated_difference.is_some());
    warnings(ctx, account, &to.family_code, payer).await
}

/// The warnings for an order of a plan that is paid in advance: `NOT_RENEWED_AUTOMATICALLY` if the account has no
/// method that can be charged off-session at the renewal. `method` is the one that pays the order; `None` for the
/// default one.
pub async fn warnings(
    ctx: &Ctx,
    account: &Account,
    family: &str,
    method: Option<MethodId>,
) -> Result<Vec<String>, Error> {
    // An account that pays by invoice is not charged.
    if account.invoiced {
        return Ok(Vec::new());
    }
    let root = AccountId::from_uuid(account.root_id);
    let known = ctx.subscription(root, family).await?;
    let payer = match method {
        Some(method) => method.to_string(),
        None => known.map(|it| it.payment_method_id).unwrap_or_default(),
    };
    let methods = ctx.payment_methods(root).await?;
    let renews = methods.iter().any(|it| {
        let meant = it.default_method || it.off_session_allowed || it.payment_method_id == payer;
        it.recurring && meant
    });
    Ok(if renews {
        Vec::new()
    } else {
        vec![NOT_RENEWED.to_owned()]
    })
}
