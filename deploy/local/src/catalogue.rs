//! `perdiem catalog import`

use std::path::Path;

use proto::payments::v1 as payments;
use proto::plan::v1 as plan;

use crate::Failure;
use crate::connect::{Clients, refused, request_id};

/// Sends a document to `payments` and `plan`, and puts it in force when both hold it (D22).
pub async fn import(
    clients: &Clients,
    file: &Path,
    activate: bool,
) -> Result<plan::Catalogue, Failure> {
    let document =
        std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let request = plan::ImportCatalogueRequest {
        document: document.clone(),
        request_id: request_id(),
    };
    let imported = clients
        .plan
        .clone()
        .import_catalogue(request)
        .await
        .map_err(refused)?
        .into_inner();
    let catalogue = imported.catalogue.ok_or("plan gave no catalogue")?;
    let request = payments::ImportCatalogueRequest {
        document,
        request_id: request_id(),
    };
    let held = clients
        .payments
        .clone()
        .import_catalogue(request)
        .await
        .map_err(refused)?
        .into_inner();
    if held.digest != catalogue.digest {
        return Err("plan and payments hold different documents".into());
    }
    if !activate {
        return Ok(catalogue);
    }
    let request = plan::ActivateCatalogueRequest {
        version: catalogue.version.clone(),
        digest: catalogue.digest.clone(),
        request_id: request_id(),
    };
    clients
        .plan
        .clone()
        .activate_catalogue(request)
        .await
        .map_err(refused)?;
    Ok(catalogue)
}
