//! Whether a named payment method can pay an order: what `payments` would refuse at the commit is refused at the quote.

use proto::payments::v1 as payments;
use proto::payments::v1::payment_method::State;
use proto::r#type::v1::Money as WireMoney;
use values::{AccountId, MethodId, Money};

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::accounts::Account;

/// Checks that a method is one of the account and can be charged.
///
/// # Errors
/// `PaymentMethodNotFound`, also if it is another account's; `PaymentMethodNotUsable` if it is expired or removed.
pub async fn usable(
    ctx: &Ctx,
    account: &Account,
    method: MethodId,
) -> Result<payments::PaymentMethod, Error> {
    let root = AccountId::from_uuid(account.root_id);
    let id = method.to_string();
    let own = ctx.all_payment_methods(root).await?;
    let known = own.into_iter().find(|it| it.payment_method_id == id);
    let known = known.ok_or(Error::PaymentMethodNotFound(method))?;
    match known.state() {
        State::Active => Ok(known),
        State::Expired | State::Removed | State::Unspecified => {
            Err(Error::PaymentMethodNotUsable(method))
        }
    }
}

/// Checks that a method, where one is named, can pay the total of an order for a plan and billing cycle, which are empty
/// if it is for no plan. Without a total nothing is paid at the commit. An account that pays by invoice is not charged.
///
/// # Errors
/// Those of [`usable`]; `MethodNotAvailable` if `payments` does not offer the method for it; `BelowMethodMinimum`.
pub async fn can_pay(
    ctx: &Ctx,
    account: &Account,
    method: Option<MethodId>,
    (plan, cycle): (&str, &str),
    total: Option<WireMoney>,
) -> Result<(), Error> {
    let Some(method) = method.filter(|_| !account.invoiced) else {
        return Ok(());
    };
    let known = usable(ctx, account, method).await?;
    let Some(total) = total else {
        return Ok(());
    };
    // As `billing` names the purpose of the charge.
    let purpose = if plan.is_empty() {
        payments::Purpose::Credits
    } else {
        payments::Purpose::Subscription
    };
    let request = payments::ListEligibleMethodsRequest {
        account_id: AccountId::from_uuid(account.root_id).to_string(),
        plan_code: plan.to_owned(),
        billing_cycle_code: cycle.to_owned(),
        purpose: purpose.into(),
        ..payments::ListEligibleMethodsRequest::default()
    };
    let offered = ctx.eligible_methods(request).await?;
    let offered = offered
        .into_iter()
        .find(|it| it.method_code == known.method_code);
    let Some(offered) = offered else {
        return Err(Error::MethodNotAvailable(known.method_code));
    };
    match offered.minimum {
        Some(minimum) if is_below(&total, &minimum) => Err(Error::BelowMethodMinimum {
            method: offered.method_code,
            minimum: format!("{} {}", minimum.amount, minimum.currency_code),
        }),
        Some(_) | None => Ok(()),
    }
}

/// Whether a total is less than a minimum. A minimum in another currency does not apply.
fn is_below(total: &WireMoney, minimum: &WireMoney) -> bool {
    let minor = |it: &WireMoney| {
        let currency = it.currency_code.parse().ok()?;
        Some(Money::parse(&it.amount, currency).ok()?.minor())
    };
    total.currency_code == minimum.currency_code
        && minor(total)
            .zip(minor(minimum))
            .is_some_and(|(total, minimum)| total < minimum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minimum_holds_in_its_currency() {
        let money = |amount: &str, currency: &str| WireMoney {
            amount: amount.to_owned(),
            currency_code: currency.to_owned(),
        };
        let minimum = money("1000.00", "INR");
        assert!(is_below(&money("999.99", "INR"), &minimum));
        assert!(!is_below(&money("1000.00", "INR"), &minimum));
        assert!(!is_below(&money("1.00", "USD"), &minimum));
    }
}
