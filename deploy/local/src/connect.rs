//! Where the services are, and clients of them.

use chrono::{DateTime, Utc};
use clap::Args;
use proto::account::v1::account_service_client::AccountServiceClient;
use proto::billing::v1::billing_service_client::BillingServiceClient;
use proto::clock::v1::test_clock_service_client::TestClockServiceClient;
use proto::payments::v1::payments_service_client::PaymentsServiceClient;
use proto::plan::v1::plan_service_client::PlanServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

use crate::Failure;

/// Where the services listen.
#[derive(Debug, Clone, Args)]
pub struct Urls {
    /// `plan`.
    #[arg(
        long,
        env = "PLAN_URL",
        default_value = "http://127.0.0.1:7301",
        global = true
    )]
    pub plan_url: String,
    /// `billing`.
    #[arg(
        long,
        env = "BILLING_URL",
        default_value = "http://127.0.0.1:7302",
        global = true
    )]
    pub billing_url: String,
    /// `account-lifecycle`.
    #[arg(
        long,
        env = "ACCOUNT_URL",
        default_value = "http://127.0.0.1:7303",
        global = true
    )]
    pub account_url: String,
    /// `payments`.
    #[arg(
        long,
        env = "PAYMENTS_URL",
        default_value = "http://127.0.0.1:7304",
        global = true
    )]
    pub payments_url: String,
    /// The test clocks of plan, billing, account-lifecycle and payments.
    #[arg(
        long,
        env = "CLOCK_URLS",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:7311,http://127.0.0.1:7312,http://127.0.0.1:7313,http://127.0.0.1:7314",
        global = true
    )]
    pub clock_urls: Vec<String>,
}

impl Urls {
    /// Where a service listens.
    pub fn of(&self, name: &str) -> &str {
        match name {
            "plan" => &self.plan_url,
            "billing" => &self.billing_url,
            "payments" => &self.payments_url,
            _ => &self.account_url,
        }
    }

    /// Where the test clock of a service listens.
    pub fn clock_of(&self, name: &str) -> &str {
        let place = match name {
            "plan" => 0,
            "billing" => 1,
            "payments" => 3,
            _ => 2,
        };
        self.clock_urls.get(place).map_or("", String::as_str)
    }

    /// Where a service of the local suite serves its metrics.
    pub fn metrics_of(name: &str) -> String {
        let place = match name {
            "plan" => 1,
            "billing" => 2,
            "payments" => 4,
            _ => 3,
        };
        format!("http://127.0.0.1:732{place}")
    }

    /// The address in a URL.
    pub fn address(url: &str) -> &str {
        url.rsplit('/').next().unwrap_or(url)
    }
}

/// Adds a token to each request.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A channel with a token.
pub type Authorized = InterceptedService<Channel, Bearer>;

/// Clients of the four services, all with one token.
#[derive(Clone)]
pub struct Clients {
    /// `plan`.
    pub plan: PlanServiceClient<Authorized>,
    /// `billing`.
    pub billing: BillingServiceClient<Authorized>,
    /// `account-lifecycle`.
    pub account: AccountServiceClient<Authorized>,
    /// `payments`.
    pub payments: PaymentsServiceClient<Authorized>,
}

impl Clients {
    /// Clients that show `token`; they connect on first use.
    pub fn new(urls: &Urls, token: &str) -> Result<Self, Failure> {
        let bearer = Bearer(MetadataValue::try_from(format!("Bearer {token}"))?);
        let to = |url: &str| -> Result<Authorized, Failure> {
            let endpoint = Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true);
            Ok(InterceptedService::new(
                endpoint.connect_lazy(),
                bearer.clone(),
            ))
        };
        Ok(Self {
            plan: PlanServiceClient::new(to(&urls.plan_url)?),
            billing: BillingServiceClient::new(to(&urls.billing_url)?)
                .max_encoding_message_size(4 << 20),
            account: AccountServiceClient::new(to(&urls.account_url)?),
            payments: PaymentsServiceClient::new(to(&urls.payments_url)?),
        })
    }
}

/// The test clocks, in the order in which they are moved (D19).
pub async fn clocks(urls: &Urls) -> Result<Vec<TestClockServiceClient<Channel>>, Failure> {
    let mut clocks = Vec::new();
    for name in ["payments", "plan", "billing", "account-lifecycle"] {
        let endpoint = Endpoint::from_shared(urls.clock_of(name).to_owned())?;
        let channel = endpoint.connect().await.map_err(|_| {
            format!(
                "the test clock of {name} does not answer at {}: is `perdiem dev` running?",
                urls.clock_of(name)
            )
        })?;
        clocks.push(TestClockServiceClient::new(channel));
    }
    Ok(clocks)
}

/// What a service refused, as an operator reads it: message, reason and the fields at fault.
#[expect(clippy::needless_pass_by_value, reason = "what map_err gives")]
pub fn refused(status: Status) -> Failure {
    let mut text = status.message().to_owned();
    if let Some(info) = status.get_details_error_info() {
        text = format!("{text} ({:?}, {})", status.code(), info.reason);
    } else {
        text = format!("{text} ({:?})", status.code());
    }
    for violation in status
        .get_details_bad_request()
        .map(|it| it.field_violations)
        .unwrap_or_default()
    {
        text = format!("{text}\n  {}: {}", violation.field, violation.description);
    }
    text.into()
}

/// A new id of an intent.
pub fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// An instant, as sent.
pub fn timestamp(at: DateTime<Utc>) -> prost_types::Timestamp {
    chassis::wire::timestamp(at)
}

/// An instant, as received.
pub fn instant(at: Option<prost_types::Timestamp>) -> Option<DateTime<Utc>> {
    at.and_then(|at| DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?))
}
