//! What an account may do at an instant, and why not: the first reason that holds, in one order (D4).
//!
//! Closed, suspended, dormant or limited; what a trial never may; what waits for KYC; what the plan does not
//! have; whom a trial may call; who may text a country; what costs and can't be paid.

use std::fmt;

use super::account::Mode;

/// What an account may want to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Send an API request.
    Api,
    /// Receive a call.
    VoiceIn,
    /// Make a call.
    VoiceOut,
    /// Receive a message.
    SmsIn,
    /// Send a message.
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
    /// Log in to it.
    Login,
    /// Read its data.
    Data,
    /// See and change what concerns billing.
    Billing,
    /// Upgrade.
    Upgrade,
}

/// Why an account may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// It is closed for ever (REQ-044 to REQ-047).
    AccountClosed,
    /// It is suspended.
    Suspended,
    /// It is softly closed.
    Dormant,
    /// It has no paid plan (C-22).
    Limited,
    /// No trial may (REQ-111).
    TrialLimit,
    /// Its KYC is not approved (REQ-077, REQ-078).
    KycNotApproved,
    /// Its plan does not have it.
    NotInPlan,
    /// It is had as an add-on (REQ-085).
    AddOnRequired,
    /// One more would be over the plan's quota (REQ-082).
    OverQuota,
    /// A trial calls and texts whitelisted numbers only (REQ-110).
    NotWhitelisted,
    /// Messages to the country need a registration (REQ-114).
    DltRequired,
    /// Nothing is left to pay with (REQ-132).
    InsufficientCredit,
}

impl Denial {
    /// Its name on the wire.
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

    /// The denial that `plan` names; `NotInPlan` for one that we do not know.
    pub fn of_plan(name: &str) -> Self {
        match name {
            "ADDON_REQUIRED" => Self::AddOnRequired,
            "OVER_QUOTA" => Self::OverQuota,
            _ => Self::NotInPlan,
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How an account stands at the instant asked for.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// Whether it is closed.
    pub closed: bool,
    /// Why it is suspended; none while it is not.
    pub suspensions: &'a [String],
    /// How much of it works.
    pub mode: Mode,
    /// Whether it is a trial.
    pub trial: bool,
    /// Whether its KYC is approved.
    pub kyc_approved: bool,
}

/// What its profile says, as data (REQ-134).
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    /// What a limited account may not do.
    pub limited_denies: &'a [String],
    /// What waits for an approved KYC.
    pub kyc_gates: &'a [String],
    /// Whether an empty balance suspends the account, rather than bar what goes out.
    pub suspends_at_zero: bool,
}

impl Capability {
    /// Its name in the catalogue.
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

    /// Whether it uses what the account is for, rather than look at it or pay for it.
    const fn is_service(self) -> bool {
        !matches!(
            self,
            Self::Login | Self::Data | Self::Billing | Self::Upgrade
        )
    }

    /// Whether it calls or texts a number.
    pub const fn has_target(self) -> bool {
        matches!(self, Self::VoiceOut | Self::SmsOut)
    }

    /// Whether it adds something that is paid for.
    const fn buys(self) -> bool {
        matches!(self, Self::BuyTrialNumber | Self::BuyProductionNumber)
    }

    /// Whether it goes out, and costs.
    const fn goes_out(self) -> bool {
        self.has_target() || matches!(self, Self::Campaign | Self::Whatsapp)
    }

    /// The feature of a plan that it needs; `None` where every plan has it.
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

    /// Whether the account's own standing allows it.
    ///
    /// # Errors
    /// The first denial that holds.
    pub fn allowed_by(self, it: &Standing<'_>, policy: &Policy<'_>) -> Result<(), Denial> {
        let listed = |list: &[String]| list.iter().any(|code| code == self.name());
        let for_more_than_balance = it.suspensions.iter().any(|reason| reason != "BALANCE");
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

    /// Whether a prepaid account needs something left to spend for it.
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

    /// What is denied, and why.
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
        assert_eq!(dormant.len(), 14, "all but login, data and billing");
        let (balance, fraud) = (words(&["BALANCE"]), words(&["BALANCE", "FRAUD"]));
        let suspended = |suspensions| {
            of(Standing {
                suspensions,
                ..STANDING
            })
        };
        assert_eq!(suspended(&balance).len(), 13, "an upgrade brings money");
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
        assert_eq!(stopped(&policy(false)), 6, "what goes out or is bought");
        assert_eq!(stopped(&policy(true)), 13, "every service");
        assert!(!Capability::VoiceIn.needs_credit(&policy(false)));
        assert!(Capability::VoiceIn.needs_credit(&policy(true)));
    }
}
