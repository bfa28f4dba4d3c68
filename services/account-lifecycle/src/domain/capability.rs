//! What an account may do at an instant. The first denial that applies is reported, in a fixed order (D4).
//!
//! The order: closed, suspended, dormant or limited; trial limits; KYC; the plan; whitelisted numbers; DLT
//! registration; credit.

use std::fmt;

use super::account::{Mode, Suspension};

/// An action that an account may be permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Send API requests.
    Api,
    /// Receive calls.
    VoiceIn,
    /// Make calls.
    VoiceOut,
    /// Receive messages.
    SmsIn,
    /// Send messages.
    SmsOut,
    /// Use a Verify application.
    Verify,
    /// Use an Authy application.
    Authy,
    /// Start a campaign.
    Campaign,
    /// Use `WhatsApp`.
    Whatsapp,
    /// Use the contact centre.
    ContactCenter,
    /// Buy a trial number.
    BuyTrialNumber,
    /// Buy a production number.
    BuyProductionNumber,
    /// Go live.
    GoLive,
    /// Log in to the account.
    Login,
    /// Read the account's data.
    Data,
    /// See and change billing.
    Billing,
    /// Upgrade to a paid plan.
    Upgrade,
}

/// Why an account lacks a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// The account is permanently closed (REQ-044 to REQ-047).
    AccountClosed,
    /// The account is suspended.
    Suspended,
    /// The account is dormant: softly closed, with its data kept.
    Dormant,
    /// The account has no paid plan (C-22).
    Limited,
    /// Trials do not have this capability (REQ-111).
    TrialLimit,
    /// The KYC is not approved (REQ-077, REQ-078).
    KycNotApproved,
    /// The plan does not include it.
    NotInPlan,
    /// The plan offers it as an add-on (REQ-085).
    AddOnRequired,
    /// One more would exceed the plan's quota (REQ-082).
    OverQuota,
    /// A trial may call and text whitelisted numbers only (REQ-110).
    NotWhitelisted,
    /// Messages to the country need a DLT registration (REQ-114).
    DltRequired,
    /// The account has no credit left (REQ-132).
    InsufficientCredit,
}

impl Denial {
    /// Name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccountClosed => "ACCOUNT_CLOSED",
            Self::Suspended => "SUSPENDED",
            Self::Dormant => "DORMANT",
            Self::Limited => "LIMITED",
            Self::TrialLimit => "TRIAL_LIMIT",
            Self::KycNotApproved => "KYC_NOT_APPROVED",
            Self::NotInPlan => "NOT_IN_PLAN",
            Self::AddOnRequired => "ADDON_REQUIRED",
            Self::OverQuota => "OVER_QUOTA",
            Self::NotWhitelisted => "NOT_WHITELISTED",
            Self::DltRequired => "DLT_REQUIRED",
            Self::InsufficientCredit => "INSUFFICIENT_CREDIT",
        }
    }

    /// The denial for a reason given by `plan`; `None` for a reason that this service does not know.
    pub fn of_plan(name: &str) -> Option<Self> {
        let mut known = [Self::NotInPlan, Self::AddOnRequired, Self::OverQuota].into_iter();
        known.find(|it| it.name() == name)
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The account's status at the instant asked about.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// Whether the account is closed.
    pub closed: bool,
    /// Reasons of its suspension; empty while it is active.
    pub suspensions: &'a [Suspension],
    /// How much of the account is usable.
    pub mode: Mode,
    /// Whether the account is a trial.
    pub trial: bool,
    /// Whether the KYC is approved.
    pub kyc_approved: bool,
}

/// The profile's rules, from the catalogue (REQ-134).
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    /// Capabilities that a limited account does not have.
    pub limited_denies: &'a [String],
    /// Capabilities that require an approved KYC.
    pub kyc_gates: &'a [String],
    /// Whether an empty balance suspends every service; otherwise it only stops outbound traffic and purchases.
    pub suspends_at_zero: bool,
}

impl Capability {
    /// Name in the catalogue.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Api => "API",
            Self::VoiceIn => "VOICE_IN",
            Self::VoiceOut => "VOICE_OUT",
            Self::SmsIn => "SMS_IN",
            Self::SmsOut => "SMS_OUT",
            Self::Verify => "VERIFY",
            Self::Authy => "AUTHY",
            Self::Campaign => "CAMPAIGN",
            Self::Whatsapp => "WHATSAPP",
            Self::ContactCenter => "CONTACT_CENTER",
            Self::BuyTrialNumber => "BUY_TRIAL_NUMBER",
            Self::BuyProductionNumber => "BUY_PRODUCTION_NUMBER",
            Self::GoLive => "GO_LIVE",
            Self::Login => "LOGIN",
            Self::Data => "DATA",
            Self::Billing => "BILLING",
            Self::Upgrade => "UPGRADE",
        }
    }

    /// Whether this uses the communications service, rather than the console or billing.
    const fn is_service(self) -> bool {
        !matches!(
            self,
            Self::Login | Self::Data | Self::Billing | Self::Upgrade
        )
    }

    /// Whether this has a destination number.
    pub const fn has_target(self) -> bool {
        matches!(self, Self::VoiceOut | Self::SmsOut)
    }

    /// Whether this is a purchase.
    const fn buys(self) -> bool {
        matches!(self, Self::BuyTrialNumber | Self::BuyProductionNumber)
    }

    /// Whether this is outbound traffic, which is charged.
    const fn goes_out(self) -> bool {
        self.has_target() || matches!(self, Self::Campaign | Self::Whatsapp)
    }

    /// The plan feature that this requires; `None` if every plan includes it.
    pub const fn feature(self) -> Option<&'static str> {
        match self {
            Self::VoiceOut => Some("voice_api"),
            Self::SmsOut => Some("sms_api"),
            Self::Campaign => Some("campaigns"),
            Self::Whatsapp => Some("whatsapp"),
            Self::ContactCenter => Some("contact_center"),
            Self::BuyTrialNumber | Self::BuyProductionNumber => Some("phone_numbers"),
            Self::Api
            | Self::VoiceIn
            | Self::SmsIn
            | Self::Verify
            | Self::Authy
            | Self::GoLive
            | Self::Login
            | Self::Data
            | Self::Billing
            | Self::Upgrade => None,
        }
    }

    /// Whether the account's status permits this capability.
    ///
    /// # Errors
    /// The first denial that applies.
    pub fn allowed_by(self, it: &Standing<'_>, policy: &Policy<'_>) -> Result<(), Denial> {
        let listed = |list: &[String]| list.iter().any(|code| code == self.name());
        let for_more_than_balance = it.suspensions.iter().any(|it| *it != Suspension::Balance);
        let service = self.is_service();
        if it.closed {
            Err(Denial::AccountClosed)
        } else if service && !it.suspensions.is_empty()
            || self == Self::Upgrade && for_more_than_balance
        {
            Err(Denial::Suspended)
        } else if it.mode == Mode::Dormant && (service || self == Self::Upgrade) {
            Err(Denial::Dormant)
        } else if it.mode == Mode::Limited && (listed(policy.limited_denies) || self.buys()) {
            Err(Denial::Limited)
        } else if it.trial && matches!(self, Self::BuyProductionNumber | Self::GoLive) {
            Err(Denial::TrialLimit)
        } else if !it.kyc_approved && listed(policy.kyc_gates) {
            Err(Denial::KycNotApproved)
        } else if !it.trial && self == Self::BuyTrialNumber {
            Err(Denial::NotInPlan)
        } else {
            Ok(())
        }
    }

    /// Whether a prepaid account needs credit left for this.
    pub const fn needs_credit(self, policy: &Policy<'_>) -> bool {
        self.goes_out() || self.buys() || policy.suspends_at_zero && self.is_service()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDING: Standing<'static> = Standing {
        closed: false,
        suspensions: &[],
        mode: Mode::Normal,
        trial: false,
        kyc_approved: true,
    };
    const ALL: [Capability; 17] = [
        Capability::Api,
        Capability::VoiceIn,
        Capability::VoiceOut,
        Capability::SmsIn,
        Capability::SmsOut,
        Capability::Verify,
        Capability::Authy,
        Capability::Campaign,
        Capability::Whatsapp,
        Capability::ContactCenter,
        Capability::BuyTrialNumber,
        Capability::BuyProductionNumber,
        Capability::GoLive,
        Capability::Login,
        Capability::Data,
        Capability::Billing,
        Capability::Upgrade,
    ];

    fn words(all: &[&str]) -> Vec<String> {
        all.iter().map(|it| (*it).to_owned()).collect()
    }

    /// Every denied capability with its denial.
    fn denied(it: &Standing<'_>, policy: &Policy<'_>) -> Vec<(&'static str, &'static str)> {
        let one = |it: &Standing<'_>, capability: Capability| {
            let denial = capability.allowed_by(it, policy).err()?;
            Some((capability.name(), denial.name()))
        };
        ALL.into_iter()
            .filter_map(|capability| one(it, capability))
            .collect()
    }

    #[test]
    fn a_limited_account_is_denied_what_its_profile_lists() {
        let limited = Standing {
            mode: Mode::Limited,
            ..STANDING
        };
        let of = |list: &[String]| {
            let policy = Policy {
                limited_denies: list,
                kyc_gates: &[],
                suspends_at_zero: false,
            };
            let buys = |it: &str| it.starts_with("BUY_");
            let all = denied(&limited, &policy).into_iter();
            all.filter(|(it, _)| !buys(it)).collect::<Vec<_>>()
        };
        assert_eq!(of(&[]), []);
        for one in [
            "VOICE_OUT",
            "SMS_OUT",
            "CAMPAIGN",
            "VOICE_IN",
            "SMS_IN",
            "WHATSAPP",
            "CONTACT_CENTER",
            "VERIFY",
            "AUTHY",
            "API",
        ] {
            assert_eq!(of(&words(&[one])), [(one, "LIMITED")]);
        }
    }

    #[test]
    fn each_gate_of_a_profile_waits_for_an_approved_kyc() {
        let unknown = Standing {
            kyc_approved: false,
            ..STANDING
        };
        for gate in ["UPGRADE", "BUY_PRODUCTION_NUMBER", "GO_LIVE"] {
            let kyc_gates = words(&[gate]);
            let policy = Policy {
                limited_denies: &[],
                kyc_gates: &kyc_gates,
                suspends_at_zero: false,
            };
            let mut shut = denied(&unknown, &policy);
            shut.retain(|(_, why)| *why == "KYC_NOT_APPROVED");
            assert_eq!(shut, [(gate, "KYC_NOT_APPROVED")]);
        }
    }

    #[test]
    fn each_standing_denies_what_it_must_and_no_more() {
        let limited_denies = words(&["VOICE_OUT", "SMS_OUT", "CAMPAIGN"]);
        let kyc_gates = words(&["UPGRADE", "BUY_PRODUCTION_NUMBER", "GO_LIVE"]);
        let policy = Policy {
            limited_denies: &limited_denies,
            kyc_gates: &kyc_gates,
            suspends_at_zero: false,
        };
        let of = |it| denied(&it, &policy);
        assert_eq!(of(STANDING), [("BUY_TRIAL_NUMBER", "NOT_IN_PLAN")]);
        let closed = of(Standing {
            closed: true,
            ..STANDING
        });
        assert_eq!(closed.len(), ALL.len());
        assert!(closed.iter().all(|(_, why)| *why == "ACCOUNT_CLOSED"));
        let limited = Standing {
            mode: Mode::Limited,
            ..STANDING
        };
        let expected = [
            "VOICE_OUT",
            "SMS_OUT",
            "CAMPAIGN",
            "BUY_TRIAL_NUMBER",
            "BUY_PRODUCTION_NUMBER",
        ];
        assert_eq!(of(limited), expected.map(|it| (it, "LIMITED")));
        let trial = Standing {
            trial: true,
            kyc_approved: false,
            ..STANDING
        };
        let expected = [
            ("BUY_PRODUCTION_NUMBER", "TRIAL_LIMIT"),
            ("GO_LIVE", "TRIAL_LIMIT"),
            ("UPGRADE", "KYC_NOT_APPROVED"),
        ];
        assert_eq!(of(trial), expected);
        let dormant = Standing {
            mode: Mode::Dormant,
            ..STANDING
        };
        let dormant = of(dormant);
        assert_eq!(
            dormant.len(),
            14,
            "a dormant account keeps login, data and billing only"
        );
        let balance = [Suspension::Balance];
        let fraud = [Suspension::Balance, Suspension::Fraud];
        let suspended = |suspensions| {
            of(Standing {
                suspensions,
                ..STANDING
            })
        };
        assert_eq!(
            suspended(&balance).len(),
            13,
            "an upgrade stays open, as it adds credit"
        );
        assert_eq!(suspended(&fraud).len(), 14);
    }

    #[test]
    fn req_132_what_an_empty_balance_stops_is_the_profiles_word() {
        let policy = |suspends_at_zero| Policy {
            limited_denies: &[],
            kyc_gates: &[],
            suspends_at_zero,
        };
        let stopped = |policy: &Policy<'_>| ALL.iter().filter(|it| it.needs_credit(policy)).count();
        assert_eq!(
            stopped(&policy(false)),
            6,
            "only outbound traffic and purchases are stopped"
        );
        assert_eq!(stopped(&policy(true)), 13, "every service");
        assert!(!Capability::VoiceIn.needs_credit(&policy(false)));
        assert!(Capability::VoiceIn.needs_credit(&policy(true)));
    }
}
