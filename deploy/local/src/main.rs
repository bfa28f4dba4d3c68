//! `perdiem`: the whole suite on one machine, and its operator's command line.

use std::path::PathBuf;

use chassis::Command as ServiceCommand;
use clap::{Parser, Subcommand};
use perdiem::connect::{Clients, Urls};
use perdiem::keys::{Keys, OPERATOR_ROLES};
use perdiem::show::{self, Output};
use perdiem::suite::{Database, Settings, Suite, open_cluster};
use perdiem::usage::{Import, OnBroken};
use perdiem::{Failure, catalogue, clock, demo, invoice, journeys, mail, run, service, usage};

/// The commercial backend of a communications platform: what can be bought, who may buy, what is
/// owed for each day, what was paid.
#[derive(Parser)]
#[command(name = "perdiem", max_term_width = 100)]
struct Options {
    /// Where the local suite keeps its database, keys and logs.
    #[arg(long, env = "PERDIEM_HOME", global = true)]
    home: Option<PathBuf>,
    /// How to print answers.
    #[arg(long, value_enum, default_value = "text", global = true)]
    output: Output,
    /// Where the services are.
    #[command(flatten)]
    urls: Urls,
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
        roles: Option<Vec<String>>,
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
    /// Billing runs.
    #[command(subcommand)]
    BillingRun(RunCommand),
    /// Invoices.
    #[command(subcommand)]
    Invoice(InvoiceCommand),
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

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let options = Options::parse();
    let done = match options.command {
        Command::Service { name, command } => service(&name, command)
            .await
            .map_err(|error| error.to_string()),
        Command::Dev { .. }
        | Command::Demo { .. }
        | Command::Token { .. }
        | Command::Catalog(_)
        | Command::Usage(_)
        | Command::BillingRun(_)
        | Command::Invoice(_)
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
    let (urls, output) = (options.urls, options.output);
    let clients = || Clients::new(&urls, &Keys::open(&home.join("keys"))?.any_operator()?);
    match options.command {
        Command::Dev { test_clock } => dev(&home, urls, test_clock).await,
        Command::Demo { part, exit, data } => play(&home, urls, (part, exit), data).await,
        Command::Token { roles, user } => {
            let keys = Keys::open(&home.join("keys"))?;
            let token = match user {
                Some(user) => keys.person(&user)?,
                None => keys.operator(
                    "local",
                    &roles.unwrap_or_else(|| OPERATOR_ROLES.map(str::to_owned).to_vec()),
                )?,
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
        Command::BillingRun(RunCommand::Create {
            month,
            family,
            dry_run,
            watch,
        }) => {
            let made = run::create(&clients()?, &family, &month, dry_run).await?;
            let made = if watch {
                run::watch(&clients()?, &made.billing_run_id, output == Output::Json).await?
            } else {
                made
            };
            run::print(&made, output)
        }
        Command::BillingRun(RunCommand::Watch { billing_run_id }) => run::print(
            &run::watch(&clients()?, &billing_run_id, output == Output::Json).await?,
            output,
        ),
        Command::BillingRun(RunCommand::Show { billing_run_id }) => {
            run::print(&run::get(&clients()?, &billing_run_id).await?, output)
        }
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
        Command::Clock(command) => move_clock(&urls, command, output).await,
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

/// Where the local suite keeps its things.
fn home(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    #[expect(clippy::disallowed_methods, reason = "where things of a user are kept")]
    let variable = |name: &str| std::env::var(name).ok().map(PathBuf::from);
    let state = || {
        variable("XDG_STATE_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".local/state")))
    };
    let home = given
        .or_else(|| state().map(|state| state.join("perdiem")))
        .ok_or("give --home")?;
    std::fs::create_dir_all(&home)?;
    Ok(home.canonicalize()?)
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
            let metrics = format!("{}/metrics", Urls::metrics_of(name));
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
