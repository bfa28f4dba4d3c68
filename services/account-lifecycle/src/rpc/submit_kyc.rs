//! `AccountService.SubmitKyc`
//!
//! Checks the documents against the requirements of the catalogue and stores the submission for review. Only metadata
//! and digests of documents are stored.

use chassis::{Call, FieldError, Unit, field_error, wire};
use chrono::NaiveDate;
use proto::account::v1 as pb;
use proto::plan::v1 as plan;
use serde_json::{Value, json};
use uuid::Uuid;
use values::{AccountId, Zone, business_day};

use super::convert;
use crate::clients::Profile;
use crate::ctx::Ctx;
use crate::domain::kyc::{KycEvent, KycState};
use crate::domain::notice::Kind;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::history::{self, Told};
use crate::ops::notify::{self, News};
use crate::ops::permit;
use crate::store::accounts;
use crate::store::kyc_submissions::{self, Submission};

/// Suffix of document codes that are required only if the signatory is not a director.
const IF_NOT_DIRECTOR: &str = "_IF_NOT_DIRECTOR";
/// Maximum of documents per submission.
const DOCUMENTS_MAX: usize = 20;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::SubmitKycRequest>,
) -> Result<pb::SubmitKycResponse, Error> {
    let request = &call.message;
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let country = country("country_code", &request.country_code)?;
    let legal_name = wire::text("legal_name", &request.legal_name, 200)?;
    let account = permit::acting(&ctx, &call, id, Action::ChangePlan).await?;
    if account.root_id != account.account_id {
        return Err(Error::UseRootAccount {
            account: id,
            root: AccountId::from_uuid(account.root_id),
        });
    }
    let profile = ctx.profile_of(&account).await?;
    let terms = profile
        .kyc
        .as_ref()
        .filter(|_| !profile.kyc_gates.is_empty());
    let terms = terms.ok_or(Error::KycNotRequired(id))?;
    let given = documents(&request.documents, terms)?;
    let zone = Zone::parse(&profile.time_zone).map_err(|_| Error::Stored("zone"))?;
    let due_on = business_day(
        zone.day(call.now),
        terms.review_business_days,
        &holidays(&profile),
    );
    let mut unit: Unit = permit::step(&ctx, &call, &account).await?;
    permit::lock(&mut unit, &account).await?;
    let last = kyc_submissions::last(&mut unit.tx, account.root_id).await?;
    let before = last.as_ref().map(|it| it.state);
    let state = before.unwrap_or(KycState::NotSubmitted);
    let state = state.moved(KycEvent::Submitted)?;
    // A resubmission with the required information continues the same submission; otherwise a new one begins.
    let kept = last.as_ref().filter(|it| it.state.continues());
    missing(terms, (country, request.signatory_is_director), &given)?;
    let submission = Submission {
        root_id: account.root_id,
        kyc_id: kept.map_or_else(Uuid::now_v7, |it| it.kyc_id),
        state,
        country_code: country.to_owned(),
        legal_name: legal_name.to_owned(),
        signatory_is_director: request.signatory_is_director,
        documents: Value::Array(given),
        submitted_at: call.now,
        review_due_on: due_on,
        reviewed_at: kept.and_then(|it| it.reviewed_at),
        reviewer: String::new(),
        reason: String::new(),
    };
    kyc_submissions::set(&mut unit.tx, &submission).await?;
    let actor = call.caller.to_string();
    moved(
        &mut unit,
        &submission,
        (before, KycEvent::Submitted, &actor),
        call.now,
    )
    .await?;
    // Each submission is an event, also one that goes on with what the reviewer asked for.
    let news = News {
        kind: Kind::KycSubmitted,
        event: format!("kyc {id} {}", call.derived_id("submitted")),
        facts: vec![("review_due_date", due_on.to_string())],
        invoice: None,
    };
    notify::owner(&mut unit.tx, &account, &news, call.now).await?;
    Ok(unit
        .commit(pb::SubmitKycResponse {
            kyc_submission: Some(convert::kyc_submission(&submission)),
        })
        .await?)
}

/// Records the transition of a submission from `before`, which is `None` for the first one, and sets the KYC state of
/// the account.
pub async fn moved(
    unit: &mut Unit,
    it: &Submission,
    (before, event, actor): (Option<KycState>, KycEvent, &str),
    now: chrono::DateTime<chrono::Utc>,
) -> Result<(), Error> {
    accounts::set_kyc_state(&mut unit.tx, it.root_id, it.state).await?;
    let told = Told {
        state: "KYC",
        name: event.as_str(),
        change: (before.map_or("", KycState::as_str), it.state.as_str()),
        actor,
        reason: &it.reason,
        resource: &values::KycId::from_uuid(it.kyc_id).to_string(),
    };
    Ok(history::tell(&mut unit.tx, (it.root_id, it.root_id), &told, now).await?)
}

/// Notifies the owner of what a reviewer decided or asked for.
pub async fn tell_reviewed(
    unit: &mut Unit,
    it: &Submission,
    decision: Uuid,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<(), Error> {
    let account = accounts::get(&mut unit.tx, it.root_id).await?;
    let account = account.ok_or(Error::Stored("account"))?;
    let mut facts = vec![("state", it.state.as_str().to_owned())];
    if !it.reason.is_empty() {
        facts.push(("reason", it.reason.clone()));
    }
    let news = News {
        kind: Kind::KycReviewed,
        event: format!("kyc {} {decision}", AccountId::from_uuid(it.root_id)),
        facts,
        invoice: None,
    };
    notify::owner(&mut unit.tx, &account, &news, now).await
}

fn holidays(profile: &Profile) -> Vec<NaiveDate> {
    let days = profile.holidays.iter();
    days.filter_map(|day| day.parse().ok()).collect()
}

/// Parses an ISO 3166-1 alpha-2 code.
pub fn country<'a>(field: &str, text: &'a str) -> Result<&'a str, FieldError> {
    let plain = text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase());
    if plain {
        Ok(text)
    } else {
        Err(field_error(field, "an ISO 3166-1 code such as IN"))
    }
}

/// The metadata of the documents sent; the files themselves are not stored.
fn documents(sent: &[pb::KycDocument], terms: &plan::KycTerms) -> Result<Vec<Value>, FieldError> {
    if sent.is_empty() || DOCUMENTS_MAX < sent.len() {
        return Err(field_error("documents", "1 to 20"));
    }
    let mut all: Vec<Value> = Vec::new();
    for (n, it) in sent.iter().enumerate() {
        let path = |field: &str| format!("documents[{n}].{field}");
        let code = wire::code(&path("document_code"), &it.document_code)?;
        let mut known = terms.documents.iter().flat_map(|set| &set.document_codes);
        if !known.any(|known| {
            known.trim_end_matches(IF_NOT_DIRECTOR) == code.trim_end_matches(IF_NOT_DIRECTOR)
        }) {
            return Err(field_error(
                path("document_code"),
                "a document code of the catalogue",
            ));
        }
        let file_name = wire::text(&path("file_name"), &it.file_name, 200)?;
        if !terms.file_type_codes.contains(&it.file_type_code) {
            let expected = terms.file_type_codes.join(", ");
            return Err(field_error(path("file_type_code"), expected));
        }
        if it.size_bytes < 1 || terms.max_bytes < it.size_bytes {
            let expected = format!("1 to {}", terms.max_bytes);
            return Err(field_error(path("size_bytes"), expected));
        }
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if it.digest.len() != 64 || !it.digest.bytes().all(hex) {
            return Err(field_error(path("digest"), "64 lower-case hex digits"));
        }
        all.push(
            json!({"code": code, "file_name": file_name, "file_type": it.file_type_code,
                        "size_bytes": it.size_bytes, "digest": it.digest}),
        );
    }
    Ok(all)
}

fn code(document: &Value) -> &str {
    let code = document.get("code").and_then(Value::as_str);
    code.unwrap_or_default().trim_end_matches(IF_NOT_DIRECTOR)
}

/// Fails if a document that the catalogue requires is missing.
fn missing(
    terms: &plan::KycTerms,
    (country, director): (&str, bool),
    all: &[Value],
) -> Result<(), Error> {
    let of = |country: &str| {
        terms
            .documents
            .iter()
            .find(|set| set.country_code == country)
    };
    let asked = of(country).or_else(|| of(""));
    let asked = asked.iter().flat_map(|set| &set.document_codes);
    let missing: Vec<_> = asked
        .filter(|asked| !(director && asked.ends_with(IF_NOT_DIRECTOR)))
        .map(|asked| asked.trim_end_matches(IF_NOT_DIRECTOR))
        .filter(|asked| !all.iter().any(|it| code(it) == *asked))
        .map(str::to_owned)
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Error::DocumentMissing(missing))
    }
}
