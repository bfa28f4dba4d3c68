//! `PlanService.ImportCatalogue`
//!
//! Checks a catalogue document completely and stores it. Importing the same document again changes nothing.

use std::fmt::Write as _;

use chassis::{Call, Unit, field_error};
use proto::plan::v1 as pb;
use sha2::{Digest as _, Sha256};

use super::convert;
use crate::ctx::Ctx;
use crate::document;
use crate::domain::catalogue_version::State;
use crate::error::Error;
use crate::store::catalogues::{self, Stored};

/// Maximum size of a document, in bytes.
const DOCUMENT_BYTES_MAX: usize = 200_000;

pub async fn handle(
    _: Ctx,
    call: Call<pb::ImportCatalogueRequest>,
    mut unit: Unit,
) -> Result<pb::ImportCatalogueResponse, Error> {
    let text = &call.message.document;
    if text.is_empty() || DOCUMENT_BYTES_MAX < text.len() {
        return Err(field_error("document", "1 to 200000 bytes of YAML").into());
    }
    let catalogue = document::read_new(text).map_err(Error::CatalogueInvalid)?;
    let digest = Sha256::digest(text.as_bytes())
        .iter()
        .fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });

    let stored = Stored {
        version: catalogue.version.clone(),
        digest,
        document: text.clone(),
        state: State::Imported,
        effective_at: catalogue.effective_at,
        imported_at: call.now,
    };
    let kept = if catalogues::insert(&mut unit.tx, &stored).await? {
        stored
    } else {
        let same = |kept: &Stored| kept.digest == stored.digest;
        let kept = catalogues::get(&mut unit.tx, &stored.version)
            .await?
            .filter(same);
        kept.ok_or_else(|| Error::CatalogueVersionExists(stored.version.clone()))?
    };
    let answer = pb::Catalogue {
        document: String::new(),
        ..convert::catalogue(&kept, &catalogue)
    };
    Ok(unit
        .commit(pb::ImportCatalogueResponse {
            catalogue: Some(answer),
        })
        .await?)
}
