//! A suite of its own, on loopback, for the programs that attack it, load it or break it.
#![expect(
    clippy::unwrap_used,
    reason = "for programs of developers: they stop at what they did not expect"
)]

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use cluster::Cluster;
use perdiem::connect::{Clients, Urls, request_id};
use perdiem::suite::{Database, Settings, Suite};
use proto::account::v1 as account;
use proto::r#type::v1::{Amount, Money};
use sqlx::PgPool;

/// How far the ports of the clocks are from those of the services.
const TO_CLOCKS: u16 = 10;

/// Numbers that look random and are the same for the same seed (splitmix64).
#[derive(Debug, Clone, Copy)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `count`, from 0.
    pub fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.draw() % u64::try_from(count).unwrap()).unwrap()
    }
}

/// How the suite is started.
#[derive(Debug, Default)]
pub struct How {
    /// The first of its ports.
    pub first_port: u16,
    /// Where its clocks stand; none has the time of the machine.
    pub clock: Option<DateTime<Utc>>,
    /// More of the environment, for every service.
    pub environment: Vec<(String, String)>,
}

/// The suite that is attacked.
pub struct Victim {
    /// Its processes.
    pub suite: Suite,
    /// Its database, as superuser.
    pub db: PgPool,
    /// An operator with every role.
    pub operator: Clients,
    /// Where it listens.
    pub urls: Urls,
    /// Who owns the accounts made here.
    pub owner: String,
    /// When the attack began.
    pub now: DateTime<Utc>,
}

impl Victim {
    /// Starts it, with the sample catalogue in force. The services are this program, by `service NAME serve`.
    pub async fn start(cluster: &Cluster, folder: PathBuf, how: How) -> Self {
        let database = Database::of(cluster, "victim");
        database.prepare().await.unwrap();
        let first = how.first_port;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let urls = Urls {
            plan_url: url(first),
            billing_url: url(first + 1),
            account_url: url(first + 2),
            payments_url: url(first + 3),
            clock_urls: (first + TO_CLOCKS..=first + TO_CLOCKS + 3)
                .map(url)
                .collect(),
        };
        let settings = Settings {
            program: std::env::current_exe().unwrap(),
            folder,
            urls: urls.clone(),
            test_clock: how.clock.is_some(),
            metrics: false,
            environment: how.environment,
        };
        let db = PgPool::connect(&database.url("postgres")).await.unwrap();
        let suite = Suite::start(settings, database).await.unwrap();
        let operator = Clients::new(&urls, &suite.keys.any_operator().unwrap()).unwrap();
        if let Some(at) = how.clock {
            perdiem::clock::set(&urls, at).await.unwrap();
        }
        let catalogue = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/catalogue.yaml");
        perdiem::catalogue::import(&operator, &catalogue, true)
            .await
            .unwrap();
        let now = match how.clock {
            Some(at) => at,
            None => chassis::Clock::System.now().await.unwrap(),
        };
        let mut victim = Self {
            suite,
            db,
            operator,
            urls,
            owner: String::new(),
            now,
        };
        victim.owner = victim.user("owner").await;
        victim
    }

    /// A new user.
    pub async fn user(&self, name: &str) -> String {
        let request = account::CreateUserRequest {
            email: format!("{name}@example.com"),
            display_name: name.to_owned(),
            request_id: request_id(),
        };
        let mut client = self.operator.account.clone();
        let user = client.create_user(request).await.unwrap();
        user.into_inner().user.unwrap().user_id
    }

    /// A new root account.
    pub async fn account(&self) -> String {
        let request = opening(&self.owner);
        let made = self.operator.account.clone().create_account(request).await;
        made.unwrap().into_inner().account.unwrap().account_id
    }

    /// Resident memory of the service `name`, in MiB.
    pub fn memory_mib(&self, name: &str) -> u64 {
        let process = self.suite.pid(name).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
        let kib: u64 = line
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap();
        kib / 1024
    }
}

/// What opens a root account of the profile `global` for a user.
pub fn opening(owner: &str) -> account::CreateAccountRequest {
    account::CreateAccountRequest {
        profile_code: "global".to_owned(),
        display_name: "An account".to_owned(),
        owner_user_id: owner.to_owned(),
        r#type: account::account::Type::Full.into(),
        request_id: request_id(),
        ..account::CreateAccountRequest::default()
    }
}

/// An order of credit, by the default payment method.
pub fn credit(amount: &str) -> account::create_order_request::Kind {
    account::create_order_request::Kind::CreditPurchase(account::CreditPurchase {
        amount: Some(Money {
            currency_code: "USD".to_owned(),
            amount: amount.to_owned(),
        }),
        payment_method_id: String::new(),
    })
}

/// An order of another support plan.
pub fn plan_change(plan_code: &str) -> account::create_order_request::Kind {
    account::create_order_request::Kind::PlanChange(account::PlanChange {
        family_code: "SUPPORT".to_owned(),
        plan_code: plan_code.to_owned(),
        ..account::PlanChange::default()
    })
}

/// An amount in dollars.
pub fn dollars(amount: &str) -> Amount {
    Amount {
        currency_code: "USD".to_owned(),
        amount: amount.to_owned(),
    }
}
