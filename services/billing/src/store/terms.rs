//! `billing.terms`: the plan terms that invoice lines were computed from

use std::str::FromStr as _;

use chassis::PgConnection;
use serde_json::{Value, json};
use values::{Currency, Rounding};

use crate::domain::charge::{Charge, Terms, Tier};
use crate::domain::explanation::rounding_name;

/// The id of `terms`; stores them if they are new.
pub async fn ensure(db: &mut PgConnection, family: &str, terms: &Terms) -> sqlx::Result<i32> {
    if let Some(id) = find(db, family, terms).await? {
        return Ok(id);
    }
    let (model, flat, minimum, maximum, tiers) = columns(&terms.charge);
    sqlx::query!(
        "-- billing.terms.insert
        INSERT INTO billing.terms (family_code, plan_code, catalogue_version, currency, rank, model, flat_minor,
                                   minimum_minor, maximum_minor, tiers, rounding)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING",
        family,
        terms.plan_code,
        terms.catalogue_version,
        terms.currency.code(),
        terms.rank,
        model,
        flat,
        minimum,
        maximum,
        tiers,
        rounding_name(terms.rounding)
    )
    .execute(&mut *db)
    .await?;
    find(db, family, terms)
        .await?
        .ok_or(sqlx::Error::RowNotFound)
}

async fn find(db: &mut PgConnection, family: &str, terms: &Terms) -> sqlx::Result<Option<i32>> {
    sqlx::query_scalar!(
        "-- billing.terms.find
        SELECT terms_id FROM billing.terms WHERE family_code = $1 AND plan_code = $2 AND catalogue_version = $3",
        family,
        terms.plan_code,
        terms.catalogue_version
    )
    .fetch_optional(db)
    .await
}

/// The terms with these ids, each with its id.
pub async fn get_all(db: &mut PgConnection, ids: &[i32]) -> sqlx::Result<Vec<(i32, Terms)>> {
    let rows = sqlx::query!(
        "-- billing.terms.get_all
        SELECT terms_id, plan_code, catalogue_version, currency, rank, model, flat_minor, minimum_minor,
               maximum_minor, tiers, rounding
        FROM billing.terms WHERE terms_id = ANY($1)",
        ids
    )
    .fetch_all(db)
    .await?;
    let corrupt = |column: &str, found: &str| {
        sqlx::Error::Decode(format!("billing.terms.{column} holds {found:?}").into())
    };
    rows.into_iter()
        .map(|row| {
            let charge = match row.model.as_str() {
                "FREE" => Charge::Free,
                "FLAT" => Charge::Flat {
                    minor: row.flat_minor,
                },
                "PERCENT_WITH_MINIMUM" => Charge::Percent {
                    tiers: tiers(&row.tiers)
                        .ok_or_else(|| corrupt("tiers", &row.tiers.to_string()))?,
                    minimum_minor: row.minimum_minor,
                    maximum_minor: row.maximum_minor,
                },
                unknown => return Err(corrupt("model", unknown)),
            };
            let terms = Terms {
                plan_code: row.plan_code,
                catalogue_version: row.catalogue_version,
                rank: row.rank,
                currency: Currency::from_str(&row.currency)
                    .map_err(|_| corrupt("currency", &row.currency))?,
                charge,
                rounding: rounding(&row.rounding)
                    .ok_or_else(|| corrupt("rounding", &row.rounding))?,
            };
            Ok((row.terms_id, terms))
        })
        .collect()
}

/// The rounding with this name.
fn rounding(name: &str) -> Option<Rounding> {
    [Rounding::HalfUp, Rounding::HalfEven, Rounding::Down]
        .into_iter()
        .find(|it| rounding_name(*it) == name)
}

fn columns(charge: &Charge) -> (&'static str, i64, i64, Option<i64>, Value) {
    match charge {
        Charge::Free => ("FREE", 0, 0, None, json!([])),
        Charge::Flat { minor } => ("FLAT", *minor, 0, None, json!([])),
        Charge::Percent {
            tiers,
            minimum_minor,
            maximum_minor,
        } => {
            let tiers: Vec<_> = tiers
                .iter()
                .map(|tier| json!([tier.up_to_micros, tier.rate_bps]))
                .collect();
            (
                "PERCENT_WITH_MINIMUM",
                0,
                *minimum_minor,
                *maximum_minor,
                Value::Array(tiers),
            )
        }
    }
}

fn tiers(stored: &Value) -> Option<Vec<Tier>> {
    let tier = |pair: &Value| {
        let [bound, rate] = pair.as_array()?.as_slice() else {
            return None;
        };
        let rate_bps = u32::try_from(rate.as_u64()?).ok()?;
        Some(Tier {
            up_to_micros: bound.as_i64(),
            rate_bps,
        })
    };
    stored.as_array()?.iter().map(tier).collect()
}
