//! `PlanService.ActivateCatalogue`
//!
//! Makes an imported version the one for new purchases. Present segments keep the version that they were bought under.

use chassis::{Call, Unit, field_error};
use proto::plan::v1 as pb;

use super::convert;
use crate::ctx::Ctx;
use crate::domain::catalogue_version::after_activation;
use crate::error::Error;
use crate::store::catalogues::{self, Stored};

pub async fn handle(
    _: Ctx,
    call: Call<pb::ActivateCatalogueRequest>,
    mut unit: Unit,
) -> Result<pb::ActivateCatalogueResponse, Error> {
    let pb::ActivateCatalogueRequest {
        version, digest, ..
    } = &call.message;
    if version.is_empty() || 32 < version.len() {
        return Err(field_error("version", "the name of an imported version").into());
    }
    if digest.len() != 64 {
        return Err(field_error("digest", "64 lower-case hex digits").into());
    }
    let stored = catalogues::get(&mut unit.tx, version).await?;
    let stored = stored.ok_or_else(|| Error::CatalogueVersionNotFound(version.clone()))?;
    if stored.digest != *digest {
        return Err(Error::DigestDiffers(version.clone()));
    }
    // What is sold from a day on is not sold before it (D31).
    if call.now < stored.effective_at {
        return Err(Error::CatalogueNotEffective {
            version: stored.version,
            effective_at: stored.effective_at,
        });
    }

    catalogues::activate(&mut unit.tx, version).await?;
    let active = Stored {
        state: after_activation(stored.state, true),
        ..stored
    };
    Ok(unit
        .commit(pb::ActivateCatalogueResponse {
            catalogue: Some(convert::version(&active)),
        })
        .await?)
}
