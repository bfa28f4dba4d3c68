//! `PaymentsService.OpenAccount`

use chassis::{Call, Unit, wire};
use proto::payments::v1 as pb;
use values::AccountId;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::accounts::{self, Account};

pub async fn handle(
    _: Ctx,
    call: Call<pb::OpenAccountRequest>,
    mut unit: Unit,
) -> Result<pb::OpenAccountResponse, Error> {
    let request = &call.message;
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let parent: Option<AccountId> =
        wire::optional_id("parent_account_id", &request.parent_account_id)?;
    let profile_code = wire::code("profile_code", &request.profile_code)?.to_owned();
    let created_at = wire::instant("create_time", request.create_time)?;
    let root_id = match parent {
        None => id.uuid(),
        Some(parent) => accounts::root_of(&mut unit.tx, parent.uuid())
            .await?
            .ok_or(Error::AccountNotFound(parent))?,
    };
    let account = Account {
        root_id,
        account_id: id.uuid(),
        profile_code,
        created_at,
        country_code: String::new(),
    };
    let opened = accounts::open(&mut unit.tx, &account).await?;
    // The country is ignored, as it may have been set in the meantime.
    if opened.map(|it| Account {
        country_code: String::new(),
        ..it
    }) != Some(account)
    {
        return Err(Error::AccountExists(id));
    }
    Ok(unit.commit(pb::OpenAccountResponse::default()).await?)
}
