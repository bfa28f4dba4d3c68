//! Billing details: the recipient, address and tax country of invoices.

use thiserror::Error;
use uuid::Uuid;

/// The recipient, address and tax country of a root account's invoices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BillingDetails {
    /// The root account.
    pub root_id: Uuid,
    /// Name of the recipient.
    pub recipient_name: String,
    /// Postal address.
    pub address: String,
    /// Tax country, ISO 3166 code; empty if not known.
    pub country_code: String,
    /// State or province code; empty if none.
    pub state_code: String,
    /// Tax registration number.
    pub tax_id: String,
    /// Whether the account buys as an export.
    pub export_supply: bool,
    /// Email address that invoices are sent to.
    pub email: String,
    /// An operator's reason why the country differs from that of the approved KYC; empty if it does not.
    pub country_reason: String,
    /// Grows by one with each change.
    pub revision: i32,
}

/// Why a tax country is refused (D33).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CountryRefused {
    /// A customer asked for a country other than that of the approved KYC, given here.
    #[error("the tax country must be that of the approved KYC, {0}; contact support to change it")]
    FollowsKyc(String),
    /// An operator set a country other than that of the approved KYC, given here, without a reason.
    #[error(
        "country_reason is required because the tax country differs from that of the approved KYC, {0}"
    )]
    ReasonMissing(String),
}

impl BillingDetails {
    /// Whether the tax country is known.
    pub fn is_taxable(&self) -> bool {
        !self.country_code.is_empty()
    }

    /// These details, as sent, with the country that they have in the place of `known` ones: that of the KYC that was
    /// approved last, unless an operator set another and said why (D33). A KYC that is withdrawn, or submitted anew,
    /// does not let the country go.
    ///
    /// # Errors
    /// `FollowsKyc` if a customer asks for another country; `ReasonMissing` if an operator gives no reason for it.
    pub fn settled(
        self,
        known: Option<&Self>,
        kyc_country: Option<&str>,
        by_operator: bool,
    ) -> Result<Self, CountryRefused> {
        let exempt = known.filter(|known| !known.country_reason.is_empty());
        let same = exempt.filter(|known| known.country_code == self.country_code);
        // An operator's exception stays in force as long as the country stays the same.
        if let Some(known) = same
            && self.country_reason.is_empty()
        {
            return Ok(Self {
                country_reason: known.country_reason.clone(),
                ..self
            });
        }
        let Some(country) = kyc_country else {
            return Ok(self);
        };
        if self.country_code.is_empty() || self.country_code == country {
            return Ok(Self {
                country_code: country.to_owned(),
                country_reason: String::new(),
                ..self
            });
        }
        if !by_operator {
            return Err(CountryRefused::FollowsKyc(country.to_owned()));
        }
        if self.country_reason.is_empty() {
            return Err(CountryRefused::ReasonMissing(country.to_owned()));
        }
        Ok(self)
    }

    /// These details after a KYC for `country` is approved. `None` if nothing changes: the country is the same, not
    /// known yet, or an operator's exception. The state code is cleared, since it belongs to the previous country.
    pub fn following(&self, country: &str) -> Option<Self> {
        let stays = self.country_code == country || !self.country_reason.is_empty();
        (!stays && self.is_taxable()).then(|| Self {
            country_code: country.to_owned(),
            state_code: String::new(),
            ..self.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(country: &str, reason: &str) -> BillingDetails {
        BillingDetails {
            country_code: country.to_owned(),
            country_reason: reason.to_owned(),
            ..BillingDetails::default()
        }
    }

    #[test]
    fn the_country_follows_the_approved_kyc_unless_an_operator_says_why() {
        let refused = CountryRefused::FollowsKyc("IN".to_owned());
        assert_eq!(of("SG", "").settled(None, None, false), Ok(of("SG", "")));
        assert_eq!(
            of("SG", "").settled(None, Some("IN"), false),
            Err(refused.clone())
        );
        assert_eq!(
            of("", "").settled(None, Some("IN"), false),
            Ok(of("IN", ""))
        );
        assert_eq!(
            of("SG", "").settled(None, Some("IN"), true),
            Err(CountryRefused::ReasonMissing("IN".to_owned()))
        );
        let moved = of("SG", "its seat has moved");
        assert_eq!(
            moved.clone().settled(None, Some("IN"), true),
            Ok(moved.clone())
        );
        // The customer may change other fields and may return to the KYC's country, but may not choose a third one.
        assert_eq!(
            of("SG", "").settled(Some(&moved), Some("IN"), false),
            Ok(moved.clone())
        );
        assert_eq!(
            of("IN", "").settled(Some(&moved), Some("IN"), false),
            Ok(of("IN", ""))
        );
        assert_eq!(
            of("MY", "").settled(Some(&moved), Some("IN"), false),
            Err(refused)
        );
    }

    #[test]
    fn an_approved_kyc_moves_the_country_of_details_that_were_given_before() {
        assert_eq!(of("SG", "").following("IN"), Some(of("IN", "")));
        assert_eq!(of("IN", "").following("IN"), None);
        assert_eq!(of("SG", "its seat has moved").following("IN"), None);
        assert_eq!(of("", "").following("IN"), None);
    }
}
