//! `AccountService.CreateAccount`, and what it shares with `CreateSubaccount`.

use chassis::{Call, Caller, Unit, field_error, wire};
use chrono::TimeDelta;
use proto::account::v1 as pb;
use uuid::Uuid;
use values::{AccountId, UserId};

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::history::{self, Told};
use crate::ops::{open_account, permit};
use crate::store::accounts::{self, Account};
use crate::store::members::{self, Member};
use crate::store::{self, Tenant, roots, users};

#[expect(
    clippy::too_many_lines,
    reason = "fields, then the steps of the saga, read top to bottom"
)]
pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CreateAccountRequest>,
) -> Result<pb::CreateAccountResponse, Error> {
    let request = &call.message;
    let profile_code = wire::code("profile_code", &request.profile_code)?.to_owned();
    let display_name = wire::text("display_name", &request.display_name, 100)?.to_owned();
    let by_operator = matches!(call.caller, Caller::Operator { .. });
    let owner: UserId = match permit::person(&call.caller) {
        Some(person) => UserId::from_uuid(person),
        None => wire::id("owner_user_id", &request.owner_user_id)?,
    };
    let full = match pb::account::Type::try_from(request.r#type) {
        Ok(pb::account::Type::Unspecified | pb::account::Type::Trial) => false,
        Ok(pb::account::Type::Full) => true,
        Err(_) => return Err(field_error("type", "TYPE_TRIAL or TYPE_FULL").into()),
    };
    let invoiced = match pb::account::BillingMode::try_from(request.billing_mode) {
        Ok(pb::account::BillingMode::Unspecified | pb::account::BillingMode::Prepaid) => false,
        Ok(pb::account::BillingMode::Invoiced) => true,
        Err(_) => {
            return Err(field_error(
                "billing_mode",
                "BILLING_MODE_PREPAID or BILLING_MODE_INVOICED",
            )
            .into());
        }
    };
    if full && !by_operator {
        return Err(Error::OperatorsOnly("type"));
    }
    if invoiced && !by_operator {
        return Err(Error::OperatorsOnly("billing_mode"));
    }
    let profile = ctx
        .profile(&profile_code)
        .await?
        .ok_or_else(|| Error::ProfileNotFound(profile_code.clone()))?;
    users::get(&mut *ctx.db.acquire().await?, owner.uuid())
        .await?
        .ok_or(Error::UserNotFound(owner))?;

    let id =
        imported(&call, &request.import_account_id)?.unwrap_or_else(|| call.derived_id("account"));
    let trial_end_at = profile
        .trial_days
        .filter(|_| !full)
        .map(|days| call.now + TimeDelta::days(days));
    let account = Account {
        trial_end_at,
        upgraded_at: None,
        limited_at: trial_end_at,
        limit_reason: trial_end_at.map_or("", |_| "TRIAL_EXPIRED").to_owned(),
        kyc_state: "NOT_SUBMITTED".to_owned(),
        dormant_at: None,
        suspensions: Vec::new(),
        closed_at: None,
        live_at: None,
        root_id: id,
        account_id: id,
        parent_id: None,
        profile_code,
        display_name,
        owner_id: owner.uuid(),
        r#type: if full { "FULL" } else { "TRIAL" }.to_owned(),
        invoiced,
        currency: profile.currency,
        created_at: call.now,
        opened_at: None,
    };
    let mut unit = permit::step(&ctx, &call, &account).await?;
    users::hold(&mut unit.tx, owner.uuid())
        .await?
        .ok_or(Error::UserNotFound(owner))?;
    insert(&mut unit, &account, &call.caller).await?;
    let owners = profile
        .roles
        .first()
        .cloned()
        .ok_or(Error::Stored("roles of a profile"))?;
    let member = Member {
        root_id: id,
        account_id: id,
        user_id: owner.uuid(),
        role_code: owners,
        granted_at: call.now,
    };
    members::grant(&mut unit.tx, &member).await?;
    unit.commit_step().await?;
    let shown = opened(&ctx, &account, &call).await?;
    let unit = permit::step(&ctx, &call, &account).await?;
    Ok(unit
        .commit(pb::CreateAccountResponse {
            account: Some(shown),
        })
        .await?)
}

/// The id of an account that comes from elsewhere.
pub fn imported<M>(call: &Call<M>, text: &str) -> Result<Option<Uuid>, Error> {
    let id: Option<AccountId> = wire::optional_id("import_account_id", text)?;
    if id.is_some() && !matches!(call.caller, Caller::Operator { .. }) {
        return Err(Error::OperatorsOnly("import_account_id"));
    }
    Ok(id.map(AccountId::uuid))
}

/// Writes an account, unless an earlier try of the same intent has.
pub async fn insert(unit: &mut Unit, account: &Account, actor: &Caller) -> Result<(), Error> {
    roots::insert(
        &mut unit.tx,
        AccountId::from_uuid(account.account_id),
        AccountId::from_uuid(account.root_id),
    )
    .await?;
    let known = accounts::get(&mut unit.tx, account.account_id).await?;
    accounts::insert(&mut unit.tx, account).await?;
    if known.is_none() {
        let actor = actor.to_string();
        let of = (account.root_id, account.account_id);
        for (state, to) in [("STATUS", "ACTIVE"), ("TYPE", account.r#type.as_str())] {
            let told = Told {
                state,
                name: "CREATED",
                change: ("", to),
                actor: &actor,
                reason: "",
                resource: "",
            };
            history::tell(&mut unit.tx, of, &told, account.created_at).await?;
        }
    }
    Ok(())
}

/// Opens an account elsewhere and gives it as it is stored: a retry finds what its first try wrote.
pub async fn opened<M>(ctx: &Ctx, account: &Account, call: &Call<M>) -> Result<pb::Account, Error> {
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::Root(account.root_id)).await?;
    let id = AccountId::from_uuid(account.account_id);
    let stored = accounts::get(&mut tx, account.account_id)
        .await?
        .ok_or(Error::AccountExists(id))?;
    tx.commit().await?;
    // An imported id may be another account's; a retry may come at a later time.
    if !account.is_made_as(&stored) {
        return Err(Error::AccountExists(id));
    }
    open_account::finish(ctx, &stored, call.now).await?;
    Ok(convert::account(&stored, call.now))
}
