//! `PlanService.EraseAccount`

use chassis::{Call, Standing, Unit, wire};
use proto::plan::v1 as pb;
use values::AccountId;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::personal::PLACES;
use crate::store::accounts;

/// Plan stores no personal data of its own. Stored responses may contain some; they are erased with the columns that
/// every service has.
pub async fn handle(
    _ctx: Ctx,
    call: Call<pb::EraseAccountRequest>,
    mut unit: Unit,
) -> Result<pb::EraseAccountResponse, Error> {
    let id: AccountId = wire::id("account_id", &call.message.account_id)?;
    let known = accounts::get(&mut unit.tx, id)
        .await?
        .ok_or(Error::AccountNotFound(id))?;
    if known.closed_at.is_none() {
        return Err(Error::AccountNotClosed(id));
    }
    chassis::end_account::<Ctx>(&mut unit.tx, id.uuid(), Standing::Erased).await?;
    let root = known.root.uuid();
    chassis::erase_places::<Ctx>(&mut unit.tx, PLACES, (root, &[id.uuid()])).await?;
    let lines = |lines: &[&str]| lines.iter().map(|it| (*it).to_owned()).collect();
    Ok(unit
        .commit(pb::EraseAccountResponse {
            erased: lines(&["stored responses to requests", "the key of the audit's hashes"]),
            kept: lines(&[
                "timelines of plans and contracts, by account id, from which invoices were computed",
                "the plans stamped on tickets, by ticket id",
            ]),
        })
        .await?)
}
