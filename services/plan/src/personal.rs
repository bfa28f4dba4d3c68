//! Every column in which plan stores text, and what a deletion does with it. Apart from what every service has, none of
//! it is personal data.

use chassis::{Fate, Personal};

const CODES: Fate = Fate::Impersonal("codes of the catalogue and of states");

/// Every column of text, JSON or bytes.
pub const PLACES: &[Personal] = &[
    Personal::new("accounts", &["profile_code", "standings"], CODES),
    Personal::new("add_ons", &["add_on_code", "currency"], CODES),
    Personal::new(
        "catalogues",
        &["version", "digest", "document", "state"],
        Fate::Impersonal("the operator's catalogue"),
    ),
    Personal::new(
        "contract_offers",
        &["family_code", "plan_code", "currency"],
        CODES,
    ),
    Personal::new(
        "contract_offers",
        &["entitlements"],
        Fate::Impersonal("entitlements by code, as amounts and levels"),
    ),
    Personal::new(
        "contract_offers",
        &["offered_by"],
        Fate::Kept("R32: the operator who made the offer"),
    ),
    Personal::new(
        "contracts",
        &["family_code", "plan_code", "catalogue_version"],
        CODES,
    ),
    Personal::new("outbox", &["family_code"], CODES),
    Personal::new(
        "segments",
        &[
            "family_code",
            "plan_code",
            "catalogue_version",
            "cycle_code",
        ],
        CODES,
    ),
    Personal::new(
        "ticket_stamps",
        &[
            "priority_code",
            "plan_code",
            "catalogue_version",
            "platform_plan_code",
            "support_priority_code",
        ],
        CODES,
    ),
];
