//! What `deploy/` says of the programs is true of them: metrics, runbooks, variables, the call graph, the roles of the
//! database. Reads files only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_json::Value;

#[test]
fn every_metric_of_alerts_and_dashboards_is_exported() {
    let exported = exported_metrics();
    let mut unknown = Vec::new();
    for (place, expression) in expressions() {
        let named = named_metrics(&expression);
        assert!(!named.is_empty(), "{place}: no metric in `{expression}`");
        let lost = named.into_iter().filter(|it| !exported.contains(it));
        unknown.extend(lost.map(|it| format!("{place}: {it}")));
    }
    assert!(
        unknown.is_empty(),
        "not exported:\n{}\nexported:\n{exported:#?}",
        unknown.join("\n")
    );
}

#[test]
fn a_metric_is_found_in_an_expression_wherever_it_stands() {
    let metrics = |text: &str| named_metrics(text).into_iter().collect::<Vec<_>>();
    let errors = r#"sum by (job) (rate(a_total{code=~"x|rate(y)"}[5m])) / on(job) group_left(pod) b > 0.01 and c offset 1h"#;
    assert_eq!(metrics(errors), ["a_total", "b", "c"]);
    assert_eq!(
        metrics("time() - max without (a) (d_seconds) > 7 * 86400"),
        ["d_seconds"]
    );
    assert_eq!(
        metrics("e unless ignoring(x) f or absent(g)"),
        ["e", "f", "g"]
    );
}

#[test]
fn every_alert_has_a_runbook_a_test_and_a_severity() {
    let runbooks: BTreeSet<String> = files("deploy/runbooks", "md")
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    let tests = read("deploy/observability/alerts.test.yaml");
    let mut linked = BTreeSet::from(["README.md".to_owned()]);
    for rule in rules() {
        let name = text(&rule["alert"]);
        let url = text(&rule["annotations"]["runbook_url"]);
        let (_, file) = url.rsplit_once("/deploy/runbooks/").expect(name);
        assert!(
            runbooks.contains(file),
            "{name}: there is no runbook {file}"
        );
        linked.insert(file.to_owned());
        let severity = text(&rule["labels"]["severity"]);
        assert!(["critical", "warning"].contains(&severity), "{name}");
        assert!(!text(&rule["annotations"]["summary"]).is_empty(), "{name}");
        let tested = format!("alertname: {name}\n        exp_alerts:\n");
        assert!(tests.contains(&tested), "{name} fires in no test");
        let index = read("deploy/runbooks/README.md");
        let line = index
            .lines()
            .find(|line| line.contains(&format!("({file})")));
        assert!(
            line.is_some_and(|it| it.contains(name)),
            "{name} is not in the index"
        );
    }
    assert_eq!(runbooks, linked, "a runbook that no alert links to");
}

#[test]
fn links_of_the_deployment_papers_lead_somewhere() {
    let mut lost = Vec::new();
    for file in files("deploy", "md") {
        let text = fs::read_to_string(&file).unwrap();
        for target in text.split("](").skip(1) {
            let target = target.split(')').next().unwrap();
            let path = target.split('#').next().unwrap();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            if !file.parent().unwrap().join(path).exists() {
                lost.push(format!("{}: {target}", file.display()));
            }
        }
    }
    assert!(lost.is_empty(), "\n{}", lost.join("\n"));
}

#[test]
fn variables_of_the_manifests_are_variables_of_the_programs() {
    let known: BTreeSet<String> = files("shared/chassis/src", "rs")
        .iter()
        .chain(&files("services", "rs"))
        .flat_map(|path| {
            let text = fs::read_to_string(path).unwrap();
            let names = text.split("env = \"").skip(1);
            names
                .map(|it| it.split('"').next().unwrap().to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(known.contains("DATABASE_URL") && known.contains("MIGRATE_DATABASE_URL"));
    let mut set = BTreeSet::new();
    for container in containers() {
        for variable in container["env"].as_array().into_iter().flatten() {
            set.insert(text(&variable["name"]).to_owned());
        }
    }
    // Those that the library of OpenTelemetry reads, and those that only other variables use.
    let others = [
        "OTEL_RESOURCE_ATTRIBUTES",
        "POD_NAME",
        "PGDATA",
        "POSTGRES_PASSWORD",
    ];
    let unknown: Vec<_> = set
        .iter()
        .filter(|it| !known.contains(*it) && !others.contains(&it.as_str()))
        .collect();
    assert!(unknown.is_empty(), "no program reads {unknown:?}");
    // What every service needs is set.
    for needed in [
        "LISTEN",
        "DATABASE_URL",
        "AUTH_KEYS_FILE",
        "TRUST_DOMAIN",
        "PROFILE",
    ] {
        assert!(set.contains(needed), "{needed}");
    }
}

const SERVICES: [&str; 4] = ["plan", "payments", "billing", "account-lifecycle"];

#[test]
fn network_policies_are_the_call_graph() {
    let mut calls: BTreeSet<(String, String)> = BTreeSet::new();
    for service in SERVICES {
        let code = read(&format!("services/{service}/src/lib.rs"));
        for (variable, callee) in [
            ("PLAN_URL", "plan"),
            ("BILLING_URL", "billing"),
            ("PAYMENTS_URL", "payments"),
        ] {
            if code.contains(&format!("\"{variable}\"")) {
                calls.insert((service.to_owned(), callee.to_owned()));
            }
        }
    }
    assert_eq!(calls.len(), 5, "{calls:?}");

    let (mut told, mut sent, mut taken) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for service in SERVICES {
        let folder = format!("deploy/kubernetes/base/{service}");
        let deployment = &documents(&format!("{folder}/deployment.yaml"))[0];
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(
            container["args"],
            serde_json::json!(["service", service, "serve"])
        );
        for variable in container["env"].as_array().unwrap() {
            if let Some(url) = variable["value"].as_str()
                && let Some(host) = url.strip_prefix("https://")
            {
                let callee = host.split(':').next().unwrap();
                told.insert((service.to_owned(), callee.to_owned()));
            }
        }
        let policy = &documents(&format!("{folder}/policy.yaml"))[0];
        sent.extend(
            services_of(&policy["spec"]["egress"], "to").map(|it| (service.to_owned(), it)),
        );
        taken.extend(
            services_of(&policy["spec"]["ingress"], "from").map(|it| (it, service.to_owned())),
        );
    }
    assert_eq!(told, calls, "the URLs of the Deployments");
    assert_eq!(sent, calls, "egress");
    assert_eq!(taken, calls, "ingress");
    let default = &documents("deploy/kubernetes/base/policies.yaml")[0];
    assert_eq!(
        default["spec"],
        serde_json::json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
    );
}

#[test]
fn probes_ask_what_the_programs_answer() {
    let health = read("shared/chassis/src/health.rs");
    let liveness = health.split("const LIVENESS: &str = \"").nth(1).unwrap();
    let liveness = liveness.split('"').next().unwrap();
    let common = &documents("deploy/kubernetes/components/service/deployment.yaml")[0];
    let container = &common["spec"]["template"]["spec"]["containers"][0];
    let port = |name: &str| {
        let ports = container["ports"].as_array().unwrap();
        let found = ports.iter().find(|it| it["name"] == name).unwrap();
        found["containerPort"].clone()
    };
    let listens = |variable: &str| {
        let variables = container["env"].as_array().unwrap();
        let found = variables.iter().find(|it| it["name"] == variable).unwrap();
        let (_, port) = text(&found["value"]).rsplit_once(':').unwrap();
        serde_json::json!(port.parse::<u16>().unwrap())
    };
    assert_eq!(listens("LISTEN"), port("grpc"));
    assert_eq!(listens("METRICS_LISTEN"), port("metrics"));
    for (probe, service) in [
        ("startupProbe", Some(liveness)),
        ("livenessProbe", Some(liveness)),
        ("readinessProbe", None),
    ] {
        let asked = &container[probe]["grpc"];
        assert_eq!(asked["port"], port("metrics"), "{probe}");
        assert_eq!(asked["service"].as_str(), service, "{probe}");
    }
}

#[test]
fn the_roles_that_a_database_administrator_makes_are_those_of_the_local_suite() {
    let sql = read("deploy/kubernetes/database/roles.sql");
    let code = read("shared/cluster/src/provision.rs");
    let attributes = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS";
    assert!(code.contains(attributes));
    let mut roles = BTreeMap::new();
    for line in sql.lines().filter(|it| it.starts_with("CREATE ROLE")) {
        let (role, rest) = line["CREATE ROLE ".len()..].split_once(' ').unwrap();
        roles.insert(role.to_owned(), rest.to_owned());
    }
    let mut wanted = BTreeMap::from([("checker".to_owned(), format!("{attributes};"))]);
    for schema in ["plan", "billing", "account", "payments"] {
        for kind in ["owner", "service"] {
            wanted.insert(format!("{schema}_{kind}"), format!("{attributes};"));
        }
        for (setting, time) in [
            ("statement_timeout", "30s"),
            ("lock_timeout", "5s"),
            ("idle_in_transaction_session_timeout", "5s"),
        ] {
            assert!(
                code.contains(&format!("(\"{setting}\", \"{time}\")")),
                "{setting}"
            );
            let line = format!("ALTER ROLE {schema}_service SET {setting} = '{time}';");
            assert!(sql.contains(&line), "{line}");
        }
        let owner = format!("GRANT CONNECT, CREATE ON DATABASE perdiem TO {schema}_owner;");
        assert!(sql.contains(&owner), "{owner}");
    }
    assert_eq!(roles, wanted);
}

/// The names under which Prometheus sees the instruments that the code makes.
fn exported_metrics() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let sources = files("shared/chassis/src", "rs").into_iter();
    for file in sources.chain(files("services", "rs")) {
        let source = fs::read_to_string(file).unwrap();
        for kind in ["_counter(\"", "_histogram(\"", "_gauge(\""] {
            let mut before = "";
            for made in source.split(kind) {
                if !before.is_empty() {
                    let (name, rest) = made.split_once('"').unwrap();
                    let built = rest.split(".build()").next().unwrap();
                    let seconds = built.contains("with_unit(\"s\")");
                    let unit = if seconds { "_seconds" } else { "" };
                    let name = format!("{}{unit}", name.replace('.', "_"));
                    if kind.starts_with("_histogram") {
                        let parts = ["bucket", "count", "sum"];
                        names.extend(parts.map(|part| format!("{name}_{part}")));
                    } else if kind.starts_with("_counter") && !before.ends_with("up_down") {
                        names.insert(format!("{name}_total"));
                    } else {
                        names.insert(name);
                    }
                }
                before = made;
            }
        }
    }
    assert!(
        names.contains("rpc_server_duration_seconds_bucket"),
        "{names:?}"
    );
    names
}

/// The names of metrics in an expression of `PromQL`.
fn named_metrics(expression: &str) -> BTreeSet<String> {
    const WORDS: [&str; 6] = ["and", "or", "unless", "offset", "bool", "inf"];
    const LABELS: [&str; 6] = [
        "by",
        "without",
        "on",
        "ignoring",
        "group_left",
        "group_right",
    ];
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut names = BTreeSet::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let until = |end: char| rest[1..].find(end).map_or(rest.len(), |at| at + 2);
        let skipped = match first {
            '"' | '\'' => until(first),
            // Label values hold no braces here.
            '{' => until('}'),
            '[' => until(']'),
            _ if word(first) => {
                let length = rest.find(|c| !word(c)).unwrap_or(rest.len());
                let (name, after) = rest.split_at(length);
                let after = after.trim_start();
                if LABELS.contains(&name) {
                    let labels = after.find(')').map_or(0, |at| at + 1);
                    rest.len() - after.len() + labels
                } else {
                    let number = first.is_ascii_digit();
                    // A function, or an aggregation: `sum(…)`, `sum by (…) (…)`.
                    let applied = ["(", "by ", "by(", "without ", "without("];
                    let applied = applied.iter().any(|it| after.starts_with(it));
                    if !number && !applied && !WORDS.contains(&name) {
                        names.insert(name.to_owned());
                    }
                    length
                }
            }
            other => other.len_utf8(),
        };
        rest = &rest[skipped.min(rest.len())..];
    }
    names
}

/// Every expression of the alerts and the dashboards, and where it is.
fn expressions() -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = rules()
        .iter()
        .map(|rule| {
            (
                text(&rule["alert"]).to_owned(),
                text(&rule["expr"]).to_owned(),
            )
        })
        .collect();
    for file in files("deploy/observability/dashboards", "json") {
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            let place = format!("{}, {}", file.display(), text(&panel["title"]));
            let targets = panel["targets"].as_array().unwrap().iter();
            found.extend(targets.map(|it| (place.clone(), text(&it["expr"]).to_owned())));
        }
        for variable in dashboard["templating"]["list"].as_array().unwrap() {
            let query = variable["definition"].as_str().unwrap_or_default();
            if let Some(of) = query.strip_prefix("label_values(") {
                let metric = of.split(',').next().unwrap();
                found.push((file.display().to_string(), metric.to_owned()));
            }
        }
    }
    found
}

fn rules() -> Vec<Value> {
    let alerts = documents("deploy/observability/alerts.yaml").remove(0);
    let groups = alerts["groups"].as_array().unwrap().clone();
    groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap().clone())
        .collect()
}

/// Every container of the manifests, those in patches too.
fn containers() -> Vec<Value> {
    let mut found = Vec::new();
    for file in files("deploy/kubernetes", "yaml") {
        let text = fs::read_to_string(&file).unwrap();
        let mut documents = parsed(&text);
        for document in documents.clone() {
            for patch in document["patches"].as_array().into_iter().flatten() {
                documents.extend(patch["patch"].as_str().map(parsed).unwrap_or_default());
            }
        }
        for document in documents {
            let pod = &document["spec"]["template"]["spec"]["containers"];
            found.extend(pod.as_array().cloned().unwrap_or_default());
        }
    }
    assert!(8 <= found.len());
    found
}

/// The services that the rules of a policy name.
fn services_of(rules: &Value, side: &str) -> impl Iterator<Item = String> {
    let mut found = Vec::new();
    for rule in rules.as_array().into_iter().flatten() {
        for peer in rule[side].as_array().into_iter().flatten() {
            let name = &peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"];
            found.extend(name.as_str().map(str::to_owned));
        }
    }
    found.into_iter()
}

fn documents(path: &str) -> Vec<Value> {
    parsed(&read(path))
}

fn parsed(yaml: &str) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(yaml)
        .map(|document| Value::deserialize(document).unwrap())
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == extension) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no .{extension} under {folder}");
    found
}
