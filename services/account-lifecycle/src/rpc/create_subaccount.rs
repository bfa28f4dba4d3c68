//! `AccountService.CreateSubaccount`

use chassis::{Call, wire};
use proto::account::v1 as pb;
use values::AccountId;

use super::convert;
use super::create_account::{imported, insert};
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::{open_account, permit};
use crate::store::accounts::{self, Account};
use crate::store::closings;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CreateSubaccountRequest>,
) -> Result<pb::CreateSubaccountResponse, Error> {
    let request = &call.message;
    let parent: AccountId = wire::id("parent_account_id", &request.parent_account_id)?;
    let display_name = wire::text("display_name", &request.display_name, 100)?.to_owned();
    let root = permit::acting(&ctx, &call, parent, Action::Manage).await?;
    if root.root_id != root.account_id {
        return Err(Error::UseRootAccount {
            account: parent,
            root: AccountId::from_uuid(root.root_id),
        });
    }
    let profile = ctx.profile_of(&root).await?;
    let mut unit = permit::step(&ctx, &call, &root).await?;
    accounts::lock(&mut unit.tx, root.account_id).await?;
    // Read again under the lock, since the account may have been upgraded or closed in the meantime.
    let root = accounts::get(&mut unit.tx, root.account_id)
        .await?
        .filter(|root| root.closed_at.is_none())
        .ok_or(Error::AccountClosed(parent))?;
    if closings::get(&mut unit.tx, root.account_id)
        .await?
        .is_some()
    {
        return Err(Error::AccountClosed(parent));
    }
    let account = Account {
        account_id: imported(&call, &request.import_account_id)?
            .unwrap_or_else(|| call.derived_id("account")),
        parent_id: Some(root.account_id),
        display_name,
        created_at: call.now,
        opened_at: None,
        ..root.clone()
    };
    if account.account_id == root.account_id {
        return Err(Error::AccountExists(parent));
    }
    let again = accounts::get(&mut unit.tx, account.account_id)
        .await?
        .is_some();
    let count = accounts::count_subaccounts(&mut unit.tx, root.account_id).await?;
    if let Some(limit) = profile
        .max_subaccounts
        .filter(|limit| *limit <= count && !again)
    {
        return Err(Error::TooManySubaccounts {
            account: parent,
            limit,
        });
    }
    let account = insert(&mut unit, &account, &call.caller).await?;
    unit.commit_step().await?;
    let told = open_account::elsewhere(&ctx, &account, call.now).await?;
    let mut unit = permit::step(&ctx, &call, &root).await?;
    open_account::note(&mut unit.tx, account.account_id, told, call.now).await?;
    Ok(unit
        .commit(pb::CreateSubaccountResponse {
            account: Some(convert::account(&account, call.now)),
        })
        .await?)
}
