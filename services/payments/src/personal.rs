//! Every column in which payments stores text, and what a deletion does with it.

use chassis::{Fate, Of, Personal};

const CODES: Fate = Fate::Impersonal("codes of the catalogue, of providers and of states");
const PROVIDER: Fate = Fate::Kept("REQ-070: the provider's id of a movement");

/// Every column of text, JSON or bytes.
pub const PLACES: &[Personal] = &[
    Personal::new("accounts", &["profile_code", "country_code"], CODES),
    Personal::new(
        "catalogues",
        &["digest", "version", "document"],
        Fate::Impersonal("the operator's catalogue"),
    ),
    Personal::new("dispute_scans", &["provider_code"], CODES),
    Personal::new(
        "disputes",
        &["provider_code", "currency", "reason", "state"],
        CODES,
    ),
    Personal::new("disputes", &["provider_id"], PROVIDER),
    Personal::new("methods", &["method_code", "country_code"], CODES),
    Personal::new(
        "methods",
        &[
            "provider_code",
            "provider_token",
            "network_code",
            "bank_code",
            "app_code",
            "last_four",
            "expiry_month",
        ],
        Fate::ByRule(
            "REQ-070: erased, except methods of refunds in progress, which a job erases once those have ended",
        ),
    ),
    Personal::new(
        "movements",
        &[
            "kind",
            "refund_key",
            "currency",
            "purpose",
            "plan_code",
            "cycle_code",
            "method_code",
            "provider_code",
            "state",
            "failure_reason",
            "parked_reason",
        ],
        CODES,
    ),
    Personal::new("movements", &["provider_id"], PROVIDER),
    Personal::new(
        "movements",
        &["reference"],
        Fate::Kept(
            "REQ-070: the bank's reference of a transfer, which is needed to reconcile with the bank",
        ),
    ),
    Personal::new(
        "movements",
        &["return_url", "action_url"],
        Fate::Emptied(Of::Root, "return_url = '', action_url = ''"),
    ),
    Personal::new("roots", &["standings"], CODES),
    Personal::new(
        "sandbox_book",
        &[
            "kind",
            "provider_id",
            "token",
            "currency",
            "state",
            "decline_reason",
            "decided_state",
        ],
        Fate::Kept("stands for the book of a provider, which is outside of Perdiem"),
    ),
    Personal::new(
        "webhook_events",
        &[
            "provider_code",
            "provider_event_id",
            "event_type",
            "object_id",
            "parent_id",
            "reference",
            "state",
            "failure_reason",
            "subject",
        ],
        Fate::Impersonal(
            "kinds and ids of the provider, and our ids; nothing else of a webhook is stored",
        ),
    ),
];
