//! `PaymentsService.ListEligibleMethods`

use chassis::wire;
use proto::payments::v1 as pb;
use values::AccountId;

use super::convert;
use crate::ctx::Ctx;
use crate::domain::catalogue::Situation;
use crate::error::Error;
use crate::ops::payer;
use crate::store::methods;

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListEligibleMethodsRequest,
) -> Result<pb::ListEligibleMethodsResponse, Error> {
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let plan = wire::optional_code("plan_code", &request.plan_code)?.unwrap_or_default();
    let cycle =
        wire::optional_code("billing_cycle_code", &request.billing_cycle_code)?.unwrap_or_default();
    let purpose = convert::purpose(request.purpose)?;
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    let account = payer::entered(&mut tx, id).await?;
    let catalogue = ctx
        .catalogue(&mut tx, convert::version(&request.catalogue_version)?)
        .await?;
    let own = methods::list(&mut tx, id.uuid(), None, 1000).await?;
    tx.commit().await?;
    if !plan.is_empty() && !catalogue.plans.iter().any(|it| it == plan) {
        return Err(Error::PlanNotFound(plan.to_owned()));
    }

    let situation = Situation {
        plan,
        cycle,
        country: &account.country_code,
        purpose,
    };
    let open = catalogue
        .methods
        .iter()
        .filter(|method| method.is_open_to(situation) && (method.recurring || !request.unattended));
    let eligible = open.map(|method| {
        let mut usable: Vec<_> = own
            .iter()
            .filter(|it| {
                it.method_code == method.code && it.removed_at.is_none() && !it.is_expired(now)
            })
            .collect();
        usable.sort_by_key(|it| !it.is_default);
        let settlement = if method.offline {
            pb::Settlement::Delayed
        } else {
            pb::Settlement::Instant
        };
        pb::EligibleMethod {
            method_code: method.code.clone(),
            network_codes: method.networks.clone(),
            bank_codes: method.banks.clone(),
            app_codes: method.apps.clone(),
            settlement: settlement.into(),
            expected_business_days: method.business_days,
            recurring: method.recurring,
            minimum: method.minimum.map(wire::pb_money),
            payment_methods: usable
                .into_iter()
                .map(|it| convert::method(it, now))
                .collect(),
        }
    });
    Ok(pb::ListEligibleMethodsResponse {
        eligible_methods: eligible.collect(),
    })
}
