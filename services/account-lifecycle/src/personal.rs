//! Every column in which account-lifecycle stores text, and what a deletion does with it.

use chassis::{Fate, Of, Personal};

const CODES: Fate = Fate::Impersonal("codes of the catalogue and of states");
const ACTORS: Fate = Fate::Kept("R32: who did what, by ids of people and names of operators");

/// Every column of text, JSON or bytes.
pub const PLACES: &[Personal] = &[
    Personal::new(
        "accounts",
        &[
            "profile_code",
            "type",
            "currency",
            "limit_reason",
            "kyc_state",
            "suspensions",
        ],
        CODES,
    ),
    Personal::new(
        "accounts",
        &["display_name"],
        Fate::Emptied(Of::Account, "display_name = ''"),
    ),
    Personal::new(
        "accounts",
        &["name_folded"],
        Fate::ByRule("the database derives it from display_name, which is emptied"),
    ),
    Personal::new(
        "billing_details",
        &[
            "recipient_name",
            "address",
            "country_code",
            "state_code",
            "tax_id",
            "email",
            "country_reason",
        ],
        Fate::Deleted(Of::Root),
    ),
    Personal::new(
        "closings",
        &["state", "option", "currency", "wait_reason"],
        CODES,
    ),
    Personal::new("closings", &["actor"], ACTORS),
    Personal::new(
        "closings",
        &["refund_ids", "receipt"],
        Fate::Kept("REQ-047, REQ-070: the receipt of the deletion; fixed words and ids only"),
    ),
    Personal::new(
        "dlt_registrations",
        &["country_code", "entity_id", "headers"],
        Fate::Deleted(Of::Root),
    ),
    Personal::new(
        "email_changes",
        &["email", "code_digest"],
        Fate::ByRule(
            "REQ-052: of a login, which outlives accounts; deleted with the user, or by a job 24 hours after it was asked for",
        ),
    ),
    Personal::new("kyc_submissions", &["state", "country_code"], CODES),
    Personal::new("kyc_submissions", &["reviewer"], ACTORS),
    Personal::new(
        "kyc_submissions",
        &["legal_name", "documents", "reason"],
        Fate::Emptied(Of::Root, "legal_name = '', documents = '[]', reason = ''"),
    ),
    Personal::new(
        "members",
        &["role_code"],
        Fate::ByRule(
            "all roles but those of the owner, who may still read the receipt, are revoked",
        ),
    ),
    Personal::new("notifications", &["kind_code", "state"], CODES),
    Personal::new(
        "notifications",
        &["event_key"],
        Fate::Impersonal("a kind, ids and revision numbers"),
    ),
    // A deletion fails notifications that are still pending. Those about a login are of no account: their address is
    // erased when they are sent, or with the user.
    Personal::new(
        "notifications",
        &["email", "facts", "secret"],
        Fate::Emptied(
            Of::Account,
            "email = '', facts = '[]', secret = '', state = CASE state WHEN 'PENDING' THEN 'FAILED' ELSE state END",
        ),
    ),
    Personal::new(
        "orders",
        &[
            "kind",
            "state",
            "family_code",
            "from_plan_code",
            "to_plan_code",
            "billing_cycle_code",
            "effect",
            "timeline_etag",
            "catalogue_version",
            "failure_reason",
            "offer_id",
        ],
        CODES,
    ),
    Personal::new("orders", &["actor"], ACTORS),
    Personal::new(
        "orders",
        &["action_label", "warnings", "lines"],
        Fate::Kept("REQ-070: what was ordered and at which price, in the words of the catalogue"),
    ),
    Personal::new(
        "orders",
        &["item"],
        Fate::Emptied(Of::Account, "item = '{}'"),
    ),
    Personal::new(
        "payout_details",
        &["sealed", "key"],
        Fate::ByRule("REQ-070, D32: sealed until the last refund has ended, then erased by a job"),
    ),
    Personal::new(
        "resources",
        &["kind_code", "sid", "display_name", "document", "digest"],
        Fate::Deleted(Of::Account),
    ),
    Personal::new("roots", &["standings"], CODES),
    Personal::new(
        "tickets",
        &[
            "channel_code",
            "priority_code",
            "plan_code",
            "platform_plan_code",
            "support_priority_code",
        ],
        CODES,
    ),
    Personal::new(
        "tickets",
        &["subject"],
        Fate::Emptied(Of::Account, "subject = ''"),
    ),
    Personal::new(
        "transitions",
        &[
            "state_code",
            "resource_id",
            "transition_code",
            "from_code",
            "to_code",
        ],
        CODES,
    ),
    Personal::new("transitions", &["actor"], ACTORS),
    // Text that people wrote is erased; the reason code in front of it stays.
    Personal::new(
        "transitions",
        &["reason"],
        Fate::Emptied(
            Of::Account,
            "reason = CASE state_code WHEN 'KYC' THEN '' ELSE split_part(reason, ':', 1) END",
        ),
    ),
    Personal::new(
        "users",
        &["email", "email_folded", "display_name"],
        Fate::ByRule(
            "REQ-052: a login outlives accounts; deleted with the user, together with stored responses about them",
        ),
    ),
    Personal::new(
        "watch_positions",
        &["source", "resume_token"],
        Fate::Impersonal("positions up to which other services' changes have been read"),
    ),
    Personal::new(
        "whitelisted_numbers",
        &["number", "code_digest"],
        Fate::Deleted(Of::Account),
    ),
];
