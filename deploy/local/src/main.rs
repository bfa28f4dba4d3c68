//! `perdiem`: the whole suite on one machine, and its operator's command line.

use std::path::PathBuf;

use chassis::{Command as ServiceCommand, OperatorRole};
use chrono::{DateTime, Utc};
use clap::{Parser, Subcommand};
use perdiem::connect::{Clients, Urls};
use perdiem::keys::Keys;
use perdiem::profile::{Deployment, TlsOptions};
use perdiem::show::{self, Output};
use perdiem::suite::{Database, Settings, Suite, open_cluster};
use perdiem::usage::{Import, OnBroken};
use perdiem::{
    Failure, account, audit, catalogue, clock, demo, doctor, event, invoice, journeys, mail,
    reconcile, run, service, usage,
};

/// The commercial backend of a communications platform: what can be bought, who may buy, what is
/// owed for each day, what was paid.
#[derive(Parser)]
#[command(name = "perdiem", max_term_width = 100, version = chassis::VERSION_AND_COMMIT)]
struct Options {
    /// Where the local suite keeps its database, keys and logs.
    #[arg(long, env = "PERDIEM_HOME", global = true)]
    home: Option<PathBuf>,
    /// How to print answers.
    #[arg(long, value_enum, default_value = "text", global = true)]
    output: Output,
    /// The deployment that a command is for, by its name in the file of profiles; the addresses and the TLS of the
    /// other options are not used then.
    #[arg(long, global = true)]
    profile: Option<String>,
    /// The file of profiles, YAML; perdiem/profiles.yaml in the user's configuration where none is given.
    #[arg(long, env = "PERDIEM_PROFILES", global = true)]
    profiles: Option<PathBuf>,
    /// Where the services are.
    #[command(flatten)]
    urls: Urls,
    /// How services that have TLS are called.
    #[command(flatten)]
    tls: TlsOptions,
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

/// What `perdiem` can do.
#[derive(Subcommand)]
#[expect(clippy::large_enum_variant, reason = "parsed once")]
enum Command {
    /// Runs the whole suite until Ctrl-C.
    Dev {
        /// Let the clocks stand until `perdiem clock` moves them.
        #[arg(long)]
        test_clock: bool,
    },
    /// Runs the suite on a fresh database and plays the main job on the sample, or a trial's whole life.
    Demo {
        /// What to play.
        #[arg(value_enum, default_value = "billing")]
        part: Part,
        /// Stop afterwards instead of leaving the suite running.
        #[arg(long)]
        exit: bool,
        /// The folder with catalogue and sample.
        #[arg(long)]
        data: Option<PathBuf>,
    },
    /// Prints a token for grpcurl: of an operator with every role, unless told otherwise.
    Token {
        /// Roles of the operator, such as SALES,BILLING.
        #[arg(long, value_delimiter = ',')]
        roles: Option<Vec<OperatorRole>>,
        /// The user id of a person instead, such as US….
        #[arg(long, conflicts_with = "roles")]
        user: Option<String>,
    },
    /// Catalogues.
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Usage.
    #[command(subcommand)]
    Usage(UsageCommand),
    /// Accounts.
    #[command(subcommand)]
    Account(AccountCommand),
    /// Billing runs.
    #[command(subcommand, visible_alias = "run")]
    BillingRun(RunCommand),
    /// Invoices.
    #[command(subcommand)]
    Invoice(InvoiceCommand),
    /// Events of money that could not be posted.
    #[command(subcommand)]
    Event(EventCommand),
    /// Compares the ledger with balances, invoices and charges, and these with the provider's records; fails where
    /// something differs. Changes nothing.
    Reconcile(ReconcileArguments),
    /// Audit trails.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Checks an installation: what is wrong, and what to do. Fails where something is wrong.
    Doctor {
        /// Leave out the comparison of the books, which reads the whole ledger.
        #[arg(long)]
        quick: bool,
    },
    /// Mail that the suite has sent on this machine.
    #[command(subcommand)]
    Mail(MailCommand),
    /// The standing clocks of a suite that runs with --test-clock.
    #[command(subcommand)]
    Clock(ClockCommand),
    /// Runs one service in this process.
    #[command(hide = true)]
    Service {
        /// Which.
        name: String,
        /// What of it.
        #[command(subcommand)]
        command: ServiceCommand,
    },
    /// Makes a migrated database in the private cluster and prints the URL of its owner.
    #[command(hide = true)]
    PrepareDatabase {
        /// Its name; dropped first when it is there.
        name: String,
    },
}

/// What the demo can play.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// A month is billed.
    Billing,
    /// A trial's whole life over fourteen months.
    Journeys,
}

/// What can be done with catalogues.
#[derive(Subcommand)]
enum CatalogCommand {
    /// Imports a catalogue into plan and payments and puts it in force.
    Import {
        /// The document, YAML.
        file: PathBuf,
        /// Only import it.
        #[arg(long)]
        no_activate: bool,
    },
}

/// What can be done with usage.
#[derive(Subcommand)]
enum UsageCommand {
    /// Imports Twilio usage records (JSON page or CSV) or our own CSV.
    Import {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Who measured; event ids are unique within it.
        #[arg(long, default_value = "import")]
        source: String,
        /// What happens to lines that do not read.
        #[arg(long, value_enum, default_value = "refuse")]
        on_broken: OnBroken,
        /// Each row holds its account's own usage, and never that of subaccounts.
        #[arg(long)]
        own_only: bool,
    },
}

/// What can be done with billing runs.
#[derive(Subcommand)]
enum RunCommand {
    /// Makes the run of a month, or finds the real one that is there.
    Create {
        /// The month, such as 2026-04.
        month: String,
        /// The family.
        #[arg(long, default_value = "SUPPORT")]
        family: String,
        /// Settle nothing.
        #[arg(long)]
        dry_run: bool,
        /// Follow it to its end.
        #[arg(long)]
        watch: bool,
    },
    /// Lists runs, newest first, and overdue months.
    List {
        /// Only this family's.
        #[arg(long, default_value = "")]
        family: String,
    },
    /// Follows a run to its end.
    Watch {
        /// The run, RU….
        billing_run_id: String,
    },
    /// Shows a run.
    Show {
        /// The run, RU….
        billing_run_id: String,
    },
    /// Lets a run settle that waits for approval.
    Approve {
        /// The run, RU….
        billing_run_id: String,
    },
    /// Stops a run that is under way, until it is resumed.
    Halt {
        /// The run, RU….
        billing_run_id: String,
    },
    /// Goes on with a halted run where it stopped.
    Resume {
        /// The run, RU….
        billing_run_id: String,
    },
    /// Ends a run that is not completed, for ever; another may bill what it did not.
    #[command(visible_alias = "end")]
    Cancel {
        /// The run, RU….
        billing_run_id: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// Lists what a run invoiced or, for a dry run, would invoice.
    Outcomes {
        /// The run, RU….
        billing_run_id: String,
    },
    /// Compares a run with another: what was added, removed and changed.
    Compare {
        /// The run, RU….
        billing_run_id: String,
        /// The other, RU…; the real one of the month before where none is given.
        #[arg(default_value = "")]
        other_billing_run_id: String,
    },
    /// Lists the accounts that a run could not rate, with the reasons.
    Parked {
        /// The run, RU….
        billing_run_id: String,
        /// Those too that are released by now.
        #[arg(long)]
        released: bool,
    },
    /// Invoices a parked account whose cause is mended.
    ReleaseParked {
        /// The run, RU….
        billing_run_id: String,
        /// The account, AC….
        account_id: String,
    },
}

/// What can be done with accounts.
#[derive(Subcommand)]
enum AccountCommand {
    /// Lists them, newest first.
    List {
        /// Only those of this profile, such as global.
        #[arg(long, default_value = "")]
        profile: String,
        /// Only the subaccounts of this account, AC….
        #[arg(long, default_value = "")]
        parent: String,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Shows an account.
    Get {
        /// The account, AC….
        account_id: String,
    },
}

/// What can be done with audit trails.
#[derive(Subcommand)]
enum AuditCommand {
    /// Has each service verify the trail of an account; fails where one is broken.
    Verify {
        /// The root account, AC….
        account_id: String,
    },
}

/// What is compared.
#[derive(clap::Args)]
struct ReconcileArguments {
    /// Only this root account, AC….
    #[arg(long, default_value = "")]
    account: String,
    /// The payment provider, such as stripe; the default one where none is given.
    #[arg(long, default_value = "")]
    provider: String,
    /// From when on payments are compared, an RFC 3339 instant; 31 days before the end where none is given.
    #[arg(long)]
    from: Option<DateTime<Utc>>,
    /// Until when payments are compared, an RFC 3339 instant; now where none is given.
    #[arg(long)]
    to: Option<DateTime<Utc>>,
}

/// What can be done with invoices.
#[derive(Subcommand)]
enum InvoiceCommand {
    /// Shows an invoice.
    Show {
        /// The invoice, IN….
        invoice_id: String,
    },
    /// Shows an invoice and how each line came about.
    Explain {
        /// The invoice, IN….
        invoice_id: String,
    },
    /// Writes an invoice as PDF.
    Pdf {
        /// The invoice, IN….
        invoice_id: String,
        /// The file; its number with .pdf where none is given.
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

/// What can be done with events of money that could not be posted.
#[derive(Subcommand)]
enum EventCommand {
    /// Lists them with their reasons, newest first.
    List {
        /// Only this root account's, AC….
        #[arg(long, default_value = "")]
        account: String,
        /// Those too that are posted by now.
        #[arg(long)]
        posted: bool,
    },
    /// Tries one again.
    Retry {
        /// The root account, AC….
        account_id: String,
        /// What it is of: a charge, refund or dispute, CH…, RF… or DP….
        subject_id: String,
    },
}

/// What can be done with mail.
#[derive(Subcommand)]
enum MailCommand {
    /// Lists it, oldest first.
    List,
    /// Shows the last mail to an address as it came.
    Show {
        /// The address, such as owner@example.com.
        to: String,
    },
}

/// What can be done with the clocks.
#[derive(Subcommand)]
enum ClockCommand {
    /// Shows the standing time.
    Show,
    /// Sets the time at once.
    Set {
        /// An RFC 3339 instant, or a distance such as 30d.
        to: String,
    },
    /// Moves the time and lets everything happen that falls due on the way.
    Advance {
        /// An RFC 3339 instant, or a distance such as 30d.
        to: String,
    },
}

fn main() -> std::io::Result<std::process::ExitCode> {
    chassis::wait_for(told(Options::parse()))
}

/// Does what the command line asks, and says why where it fails.
async fn told(options: Options) -> std::process::ExitCode {
    // `serve` has an option of the same name: where it has the value of ours, that is none of its own.
    let of_services = matches!(
        options.profile.as_deref(),
        None | Some("production" | "local")
    );
    let done = match options.command {
        Command::Service { .. } if !of_services => {
            Err("the profile of a service is production or local".to_owned())
        }
        Command::Service { name, command } => service(&name, command)
            .await
            .map_err(|error| error.to_string()),
        Command::Dev { .. }
        | Command::Demo { .. }
        | Command::Token { .. }
        | Command::Catalog(_)
        | Command::Usage(_)
        | Command::Account(_)
        | Command::BillingRun(_)
        | Command::Invoice(_)
        | Command::Event(_)
        | Command::Reconcile(_)
        | Command::Audit(_)
        | Command::Doctor { .. }
        | Command::Mail(_)
        | Command::Clock(_)
        | Command::PrepareDatabase { .. } => act(options).await.map_err(|error| error.to_string()),
    };
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "why the command failed")]
            {
                eprintln!("perdiem: {error}");
            }
            std::process::ExitCode::FAILURE
        }
    }
}

/// Does what the command line asks.
#[expect(clippy::too_many_lines, reason = "the table of commands")]
async fn act(options: Options) -> Result<(), Failure> {
    let home = home(options.home.clone())?;
    let local = matches!(
        options.command,
        Command::Dev { .. }
            | Command::Demo { .. }
            | Command::Token { .. }
            | Command::Mail(_)
            | Command::PrepareDatabase { .. }
    );
    let deployment = match options.profile {
        Some(_) if local => return Err("--profile is for deployments, and this is local".into()),
        Some(name) => Deployment::read(&profiles(options.profiles)?, &name, options.urls)?,
        None if local => Deployment::given(options.urls, TlsOptions::default())?,
        None => Deployment::given(options.urls, options.tls)?,
    };
    let (urls, output) = (&deployment.urls, options.output);
    let clients = || deployment.clients(&home.join("keys"));
    match options.command {
        Command::Dev { test_clock } => dev(&home, urls.clone(), test_clock).await,
        Command::Demo { part, exit, data } => play(&home, urls.clone(), (part, exit), data).await,
        Command::Token { roles, user } => {
            let keys = Keys::open(&home.join("keys"))?;
            let token = if let Some(user) = user {
                keys.person(&user)?
            } else {
                let roles = roles.unwrap_or_else(|| OperatorRole::ALL.to_vec());
                keys.operator("local", &roles)?
            };
            show::line(token);
            Ok(())
        }
        Command::Catalog(CatalogCommand::Import { file, no_activate }) => {
            let imported = catalogue::import(&clients()?, &file, !no_activate).await?;
            if output == Output::Json {
                return show::json("perdiem.plan.v1.Catalogue", &imported);
            }
            let state = if no_activate { "imported" } else { "in force" };
            show::line(format!(
                "catalogue {} {state}, digest {}",
                imported.version, imported.digest
            ));
            Ok(())
        }
        Command::Usage(UsageCommand::Import {
            files,
            source,
            on_broken,
            own_only,
        }) => {
            let how = Import {
                source,
                on_broken,
                own_only,
                quiet: output == Output::Json,
            };
            for file in files {
                let imported = usage::import(&clients()?, &file, &how).await?;
                if output == Output::Json {
                    show::json("perdiem.billing.v1.StreamUsageResponse", &imported.answer)?;
                } else {
                    usage::print(&file, &imported);
                }
            }
            Ok(())
        }
        Command::Account(AccountCommand::List {
            profile,
            parent,
            limit,
        }) => {
            let found =
                account::list(&clients()?, (profile.as_str(), parent.as_str()), limit).await?;
            account::print_list(&found, output)
        }
        Command::Account(AccountCommand::Get { account_id }) => {
            account::print(&account::get(&clients()?, &account_id).await?, output)
        }
        Command::BillingRun(command) => act_on_run(&clients()?, command, output).await,
        Command::Invoice(InvoiceCommand::Show { invoice_id }) => invoice::print(
            &invoice::get(&clients()?, &invoice_id).await?,
            false,
            output,
        ),
        Command::Invoice(InvoiceCommand::Explain { invoice_id }) => {
            invoice::print(&invoice::get(&clients()?, &invoice_id).await?, true, output)
        }
        Command::Invoice(InvoiceCommand::Pdf { invoice_id, out }) => {
            invoice::write_pdf(&clients()?, &invoice_id, out).await
        }
        Command::Event(EventCommand::List { account, posted }) => {
            event::print(&event::list(&clients()?, &account, posted).await?, output)
        }
        Command::Event(EventCommand::Retry {
            account_id,
            subject_id,
        }) => {
            let event = event::retry(&clients()?, &account_id, &subject_id).await?;
            event::print(&[event], output)
        }
        Command::Reconcile(arguments) => {
            let to = match arguments.to {
                Some(to) => to,
                None => clock::current(urls).await,
            };
            let scope = reconcile::Scope {
                account_id: arguments.account,
                provider_code: arguments.provider,
                from: arguments.from.unwrap_or(to - reconcile::LONGEST),
                to,
            };
            let found = reconcile::compare(&clients()?, &scope).await?;
            reconcile::print(&found, output)?;
            reconcile::verdict(&found)
        }
        Command::Audit(AuditCommand::Verify { account_id }) => {
            let trails = audit::verify(&clients()?, &account_id).await?;
            audit::print(&trails, output)?;
            audit::verdict(&trails)
        }
        Command::Doctor { quick } => {
            let checks = doctor::examine(urls, &clients()?, quick).await;
            doctor::print(&checks, output)?;
            doctor::verdict(&checks)
        }
        Command::Mail(MailCommand::List) => {
            let mails = mail::list(&home.join("mail"))?;
            if output == Output::Json {
                show::line(serde_json::to_string_pretty(&mails)?);
                return Ok(());
            }
            for it in mails {
                show::line(format!("{}  {}  {}", it.file.display(), it.to, it.subject));
            }
            Ok(())
        }
        Command::Mail(MailCommand::Show { to }) => {
            let mails = mail::list(&home.join("mail"))?;
            let last = mails.into_iter().rev().find(|it| it.to.contains(&to));
            let last = last.ok_or_else(|| format!("no mail to {to}"))?;
            show::line(last.source);
            Ok(())
        }
        Command::Clock(command) => move_clock(urls, command, output).await,
        Command::PrepareDatabase { name } => {
            let cluster = open_cluster(&home)?;
            let database = Database::of(&cluster, &name);
            database.drop().await?;
            database.prepare().await?;
            show::line(database.url("postgres"));
            // Whoever asked goes on with it; the next command takes the server over.
            std::mem::forget(cluster);
            Ok(())
        }
        Command::Service { .. } => Ok(()),
    }
}

/// Does what the command line asks of billing runs.
async fn act_on_run(clients: &Clients, command: RunCommand, output: Output) -> Result<(), Failure> {
    let quiet = output == Output::Json;
    let run = match command {
        RunCommand::Create {
            month,
            family,
            dry_run,
            watch,
        } => {
            let made = run::create(clients, &family, &month, dry_run).await?;
            if watch {
                run::watch(clients, &made.billing_run_id, quiet).await?
            } else {
                made
            }
        }
        RunCommand::Watch { billing_run_id } => run::watch(clients, &billing_run_id, quiet).await?,
        RunCommand::Show { billing_run_id } => run::get(clients, &billing_run_id).await?,
        RunCommand::Approve { billing_run_id } => run::approve(clients, &billing_run_id).await?,
        RunCommand::Halt { billing_run_id } => run::halt(clients, &billing_run_id).await?,
        RunCommand::Resume { billing_run_id } => run::resume(clients, &billing_run_id).await?,
        RunCommand::Cancel {
            billing_run_id,
            reason,
        } => run::cancel(clients, &billing_run_id, &reason).await?,
        RunCommand::List { family } => {
            return run::print_list(&run::list(clients, &family).await?, output);
        }
        RunCommand::Outcomes { billing_run_id } => {
            let found = run::outcomes(clients, &billing_run_id).await?;
            return run::print_outcomes(&found, output);
        }
        RunCommand::Compare {
            billing_run_id,
            other_billing_run_id,
        } => {
            let found = run::compare(clients, &billing_run_id, &other_billing_run_id).await?;
            return run::print_compared(&found, output);
        }
        RunCommand::Parked {
            billing_run_id,
            released,
        } => {
            let found = run::parked(clients, &billing_run_id, released).await?;
            return run::print_parked(&found, output);
        }
        RunCommand::ReleaseParked {
            billing_run_id,
            account_id,
        } => {
            return match run::release_parked(clients, &billing_run_id, &account_id).await? {
                Some(made) => invoice::print(&made, false, output),
                None if quiet => {
                    show::line("null");
                    Ok(())
                }
                None => {
                    show::line("released; nothing is owed");
                    Ok(())
                }
            };
        }
    };
    run::print(&run, output)
}

/// Where the local suite keeps its things.
fn home(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let home = given
        .or_else(|| ours("XDG_STATE_HOME", ".local/state"))
        .ok_or("give --home")?;
    std::fs::create_dir_all(&home)?;
    Ok(home.canonicalize()?)
}

/// The file of profiles.
fn profiles(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let found = given
        .or_else(|| ours("XDG_CONFIG_HOME", ".config").map(|folder| folder.join("profiles.yaml")));
    found.ok_or_else(|| "give --profiles".into())
}

/// Our folder in that of the user that a variable names, or else in a folder below the user's home.
fn ours(variable: &str, below_home: &str) -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "where things of a user are kept")]
    let value = |name: &str| std::env::var(name).ok().map(PathBuf::from);
    let folder = value(variable).or_else(|| Some(value("HOME")?.join(below_home)))?;
    Some(folder.join("perdiem"))
}

/// How the local suite is started.
fn settings(home: &std::path::Path, urls: Urls, test_clock: bool) -> Result<Settings, Failure> {
    Ok(Settings {
        program: std::env::current_exe()?,
        folder: home.to_owned(),
        urls,
        test_clock,
        metrics: true,
        environment: Vec::new(),
    })
}

/// Runs the suite until it is told to stop.
async fn dev(home: &std::path::Path, urls: Urls, test_clock: bool) -> Result<(), Failure> {
    let cluster = open_cluster(home)?;
    let database = Database::of(&cluster, "perdiem");
    database.prepare().await?;
    let suite = Suite::start(settings(home, urls, test_clock)?, database).await?;
    introduce(&suite);
    show::line(
        "Import a catalogue with `perdiem catalog import FILE`, mint tokens with `perdiem token`. Ctrl-C stops all.",
    );
    wait(suite).await
}

/// Runs the suite and plays the demo.
async fn play(
    home: &std::path::Path,
    urls: Urls,
    (part, exit): (Part, bool),
    data: Option<PathBuf>,
) -> Result<(), Failure> {
    let begun = std::time::Instant::now();
    let data = demo::data_folder(data)?;
    let cluster = open_cluster(home)?;
    let database = Database::of(&cluster, "perdiem_demo");
    database.drop().await?;
    database.prepare().await?;
    let suite = Suite::start(settings(home, urls, true)?, database).await?;
    introduce(&suite);
    match part {
        Part::Billing => demo::play(&suite, &data).await?,
        Part::Journeys => journeys::play(&suite, &data).await?,
    }
    show::line(format!("\nThe demo took {:.1?}.", begun.elapsed()));
    if exit {
        suite.stop().await;
        return Ok(());
    }
    demo::hints(&suite, &data).await?;
    show::line("\nCtrl-C stops all.");
    wait(suite).await
}

/// Tells where everything is.
fn introduce(suite: &Suite) {
    let rows: Vec<Vec<String>> = perdiem::suite::SERVICES
        .iter()
        .map(|(name, ..)| {
            let clock = if suite.settings.test_clock {
                Urls::address(suite.settings.urls.clock_of(name))
            } else {
                ""
            };
            let metrics = Urls::metrics_of(name);
            let metrics = format!("{}/metrics", Urls::address(&metrics));
            vec![
                (*name).to_owned(),
                Urls::address(suite.settings.urls.of(name)).to_owned(),
                clock.to_owned(),
                metrics,
            ]
        })
        .collect();
    show::table(&["service", "gRPC", "test clock", "metrics"], &rows);
    show::line(format!("  database {}", suite.database.url("checker")));
    show::line(format!(
        "  logs and keys in {}",
        suite.settings.folder.display()
    ));
}

/// Waits until it is told to stop, or a service has ended.
async fn wait(mut suite: Suite) -> Result<(), Failure> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
        name = suite.ended() => {
            suite.stop().await;
            return Err(format!("{name} has ended; its log tells why").into());
        }
    }
    suite.stop().await;
    Ok(())
}

/// Shows or moves the clocks.
async fn move_clock(urls: &Urls, command: ClockCommand, output: Output) -> Result<(), Failure> {
    let now = clock::now(urls).await?;
    match command {
        ClockCommand::Show => {}
        ClockCommand::Set { to } => clock::set(urls, clock::target(&to, now)?).await?,
        ClockCommand::Advance { to } => clock::advance(urls, clock::target(&to, now)?).await?,
    }
    let now = clock::now(urls)
        .await?
        .to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
    show::line(if output == Output::Json {
        format!("{{\"current_time\": \"{now}\"}}")
    } else {
        now
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// The command that a line means.
    fn parsed(line: &str) -> Option<Command> {
        let options = Options::try_parse_from(line.split(' '));
        options.ok().map(|options| options.command)
    }

    #[test]
    fn the_options_do_not_contradict_each_other() {
        Options::command().debug_assert();
    }

    #[test]
    fn runs_have_their_commands_by_both_names() {
        for name in ["run", "billing-run"] {
            for command in ["approve", "halt", "resume", "show", "watch", "outcomes"] {
                let read = parsed(&format!("perdiem {name} {command} RU1"));
                assert!(matches!(read, Some(Command::BillingRun(_))), "{command}");
                let without = parsed(&format!("perdiem {name} {command}"));
                assert!(without.is_none(), "{command} needs a run");
            }
        }
        let read = parsed("perdiem run release-parked RU1 AC1");
        let Some(Command::BillingRun(RunCommand::ReleaseParked {
            billing_run_id,
            account_id,
        })) = read
        else {
            panic!("release-parked does not read");
        };
        assert_eq!(
            (billing_run_id.as_str(), account_id.as_str()),
            ("RU1", "AC1")
        );
        assert!(parsed("perdiem run release-parked RU1").is_none());
        assert!(matches!(
            parsed("perdiem run compare RU1"),
            Some(Command::BillingRun(RunCommand::Compare { other_billing_run_id, .. }))
                if other_billing_run_id.is_empty()
        ));
        assert!(matches!(
            parsed("perdiem run parked RU1 --released"),
            Some(Command::BillingRun(RunCommand::Parked {
                released: true,
                ..
            }))
        ));
    }

    #[test]
    fn a_service_has_a_profile_and_certificates_of_its_own() {
        let line = "perdiem service plan serve --listen=127.0.0.1:1 --database-url=x --auth-keys-file=x \
            --profile=local --trust-domain=one.example --tls-ca-file=ca --tls-key-file=key --tls-certificate-file=cert";
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        let Some(Command::Service {
            command: ServiceCommand::Serve(config),
            ..
        }) = parsed(&line)
        else {
            panic!("serve does not read");
        };
        assert_eq!(config.profile, "local");
        assert_eq!(config.trust_domain, "one.example".parse().ok());
        assert_eq!(config.tls_ca_file, Some(PathBuf::from("ca")));
    }

    #[test]
    fn checks_read_with_their_options() {
        let line = "perdiem reconcile --account AC1 --provider stripe --from 2026-03-01T00:00:00Z";
        let Some(Command::Reconcile(read)) = parsed(line) else {
            panic!("reconcile does not read");
        };
        assert_eq!(
            (read.account.as_str(), read.provider.as_str()),
            ("AC1", "stripe")
        );
        assert!(read.from.is_some() && read.to.is_none());
        assert!(parsed("perdiem reconcile --from yesterday").is_none());
        assert!(matches!(
            parsed("perdiem doctor --quick --output json"),
            Some(Command::Doctor { quick: true })
        ));
        assert!(matches!(
            parsed("perdiem doctor --profile staging --profiles p.yaml"),
            Some(Command::Doctor { quick: false })
        ));
        assert!(matches!(
            parsed("perdiem audit verify AC1"),
            Some(Command::Audit(AuditCommand::Verify { .. }))
        ));
        assert!(matches!(
            parsed("perdiem account list"),
            Some(Command::Account(AccountCommand::List { limit: 100, .. }))
        ));
        assert!(matches!(
            parsed("perdiem account get AC1"),
            Some(Command::Account(AccountCommand::Get { .. }))
        ));
    }
}
