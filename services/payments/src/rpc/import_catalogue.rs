//! `PaymentsService.ImportCatalogue`
//!
//! Stores a catalogue version. Importing the same document again changes nothing.

use std::fmt::Write as _;

use chassis::{Call, Unit, field_error};
use proto::payments::v1 as pb;
use sha2::{Digest as _, Sha256};

use crate::ctx::Ctx;
use crate::document;
use crate::error::Error;
use crate::store::catalogues;

/// Maximum size of a document, in bytes.
const DOCUMENT_BYTES_MAX: usize = 200_000;

pub async fn handle(
    _: Ctx,
    call: Call<pb::ImportCatalogueRequest>,
    mut unit: Unit,
) -> Result<pb::ImportCatalogueResponse, Error> {
    let text = &call.message.document;
    if text.is_empty() || DOCUMENT_BYTES_MAX < text.len() || text.contains('\0') {
        return Err(field_error("document", "1 to 200000 bytes of YAML").into());
    }
    // `plan` checks the rest of the document, and activates the version once both services have it.
    let version = document::read(text)
        .map_err(Error::CatalogueInvalid)?
        .version;
    let digest = Sha256::digest(text.as_bytes())
        .iter()
        .fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
    if catalogues::insert(&mut unit.tx, &version, &digest, text, call.now).await? != digest {
        return Err(Error::CatalogueVersionExists(version));
    }
    Ok(unit
        .commit(pb::ImportCatalogueResponse { version, digest })
        .await?)
}
