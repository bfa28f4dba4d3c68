//! `PlanService.CreateContract`, and the joining of members, which other contract RPCs share.

use std::collections::BTreeSet;

use chassis::{Call, PgConnection, Unit, field_error, wire};
use chrono::{DateTime, Utc};
use proto::plan::v1 as pb;
use values::{AccountId, ContractId};

use super::convert;
use super::get_current_plan::current;
use crate::ctx::Ctx;
use crate::domain::timeline::{self, Segment};
use crate::error::Error;
use crate::store::{contracts, segments};

/// Maximum of members of a contract besides its payer.
const MEMBERS_MAX: usize = 999;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CreateContractRequest>,
    mut unit: Unit,
) -> Result<pb::CreateContractResponse, Error> {
    let request = &call.message;
    let family = wire::code("family_code", &request.family_code)?;
    let plan = wire::code("plan_code", &request.plan_code)?;
    let payer: AccountId = wire::id("payer_account_id", &request.payer_account_id)?;
    if MEMBERS_MAX < request.member_account_ids.len() {
        return Err(field_error("member_account_ids", "at most 999").into());
    }
    let mut members = BTreeSet::from([payer]);
    for (n, member) in request.member_account_ids.iter().enumerate() {
        members.insert(wire::id(&format!("member_account_ids[{n}]"), member)?);
    }
    let members: Vec<_> = members.into_iter().collect();
    for member in &members {
        unit.concerns::<Error>(member.uuid()).await?;
    }

    let catalogue = ctx.active_catalogue(&mut unit.tx).await?;
    if catalogue.plan(family, plan).is_none() {
        return Err(Error::PlanNotFound(plan.to_owned()));
    }
    let contract = contracts::Contract {
        contract_id: ContractId::from_uuid(call.derived_id("contract")).uuid(),
        family_code: family.to_owned(),
        plan_code: plan.to_owned(),
        catalogue_version: catalogue.version.clone(),
        payer_id: payer.uuid(),
        created_at: call.now,
    };
    contracts::insert(&mut unit.tx, &contract).await?;
    join(&ctx, &mut unit.tx, &contract, &members).await?;
    let shown = shown(&mut unit.tx, &contract).await?;
    Ok(unit
        .commit(pb::CreateContractResponse {
            contract: Some(shown),
        })
        .await?)
}

/// Adds root accounts to a contract from now on.
pub async fn join(
    ctx: &Ctx,
    db: &mut PgConnection,
    contract: &contracts::Contract,
    members: &[AccountId],
) -> Result<(), Error> {
    let id = ContractId::from_uuid(contract.contract_id);
    let (locked, now) = ctx.hold_timelines(db, members).await?;
    for member in members {
        let known = locked
            .iter()
            .find(|(id, _)| id == member)
            .ok_or(Error::AccountNotFound(*member))?;
        if known.1.root != *member {
            return Err(Error::UseRootAccount {
                account: *member,
                root: known.1.root,
            });
        }
        let current = current(ctx, db, *member, &contract.family_code, now).await?;
        if current.segment.contract.is_some() {
            return Err(Error::AlreadyInContract(*member));
        }
        put(db, *member, contract, Some(id), now).await?;
        contracts::join(db, id, *member, now).await?;
    }
    Ok(())
}

/// Puts the plan of `terms` in force for a member from `now` on. With `governor`, that contract governs the segment and
/// its payer pays; without, the member pays.
pub async fn put(
    db: &mut PgConnection,
    member: AccountId,
    terms: &contracts::Contract,
    governor: Option<ContractId>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let timeline = segments::list(db, member, &terms.family_code).await?;
    let next = Segment {
        start_at: now,
        end_at: None,
        plan_code: terms.plan_code.clone(),
        catalogue_version: terms.catalogue_version.clone(),
        payer: if governor.is_some() {
            AccountId::from_uuid(terms.payer_id)
        } else {
            member
        },
        contract: governor,
        cycle: None,
        order: None,
        offer: None,
    };
    let edit = timeline::changed(&timeline, next, now)?;
    segments::edit(db, member, &terms.family_code, &edit).await?;
    Ok(())
}

/// A contract in its wire form.
pub async fn shown(
    db: &mut PgConnection,
    contract: &contracts::Contract,
) -> Result<pb::Contract, Error> {
    let members = contracts::members(db, ContractId::from_uuid(contract.contract_id)).await?;
    Ok(convert::contract(contract, &members))
}
