//! The rules of the tree that neither rustc nor clippy keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// In a room whose path ends with the first, no line of code may hold one of the second.
const FORBIDDEN: [(&str, &[&str]); 7] = [
    (
        "src/domain",
        &[
            "sqlx",
            "tonic",
            "prost",
            "proto::",
            "chassis",
            "crate::store",
            "crate::rpc",
            "async fn",
        ],
    ),
    (
        "src/store",
        &[
            "tonic",
            "prost",
            "proto::",
            "crate::rpc",
            "crate::jobs",
            "crate::error",
            ".begin()",
            ".commit()",
        ],
    ),
    // Who is no person is not an operator for that: what operators may is asked of them (D36).
    (
        "src/rpc",
        &["sqlx::query", "crate::jobs", "Caller::Person { .. })"],
    ),
    (
        "src/ops",
        &[
            "sqlx::query",
            "crate::rpc",
            "crate::jobs",
            "Caller::Person { .. })",
        ],
    ),
    ("src/jobs", &["sqlx::query", "crate::rpc"]),
    (
        "src/clients",
        &["sqlx", "crate::store", "crate::rpc", "crate::jobs"],
    ),
    ("src/error", &["crate::store", "crate::rpc", "crate::jobs"]),
];

#[test]
fn rooms_import_only_what_they_may() {
    let mut broken = Vec::new();
    for file in files("services", "rs") {
        let path = file.to_str().unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (room, words) in FORBIDDEN {
            if !path.contains(&format!("{room}/")) && !path.ends_with(&format!("{room}.rs")) {
                continue;
            }
            for (number, line) in code.lines().enumerate() {
                let line = line.split("//").next().unwrap();
                for word in words.iter().filter(|word| line.contains(*word)) {
                    broken.push(format!("{path}:{}: `{word}` in {room}", number + 1));
                }
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// Names of what is an enum, wherever it is no column.
const STATES: [&str; 4] = ["state", "kind", "purpose", "phase"];
/// What follows such a name where it is held as text, or compared with one.
const AS_TEXT: [&str; 9] = [
    " == \"",
    " != \"",
    ": String",
    ": Option<String>",
    ": &str",
    ": &'static str",
    ".as_str() {",
    ".as_str(), \"",
    ".as_deref() ==",
];

#[test]
fn no_state_or_kind_of_billing_is_a_text() {
    let mut found = Vec::new();
    for file in files("services/billing/src", "rs") {
        let path = file.to_str().unwrap();
        if path.contains("/store/") || path.ends_with("/rpc/convert.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let line = line.split("//").next().unwrap();
            if holds_state_as_text(line) {
                found.push(format!("{path}:{}: {line}", number + 1));
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    for text in [
        "if run.state != \"RUNNING\" {",
        "match it.kind.as_str() {",
        "pub purpose: String,",
    ] {
        assert!(holds_state_as_text(text), "{text}");
    }
    for text in [
        "state_code: String,",
        "it.kind.as_str().to_owned()",
        "if run.state != State::Running {",
    ] {
        assert!(!holds_state_as_text(text), "{text}");
    }
}

/// Whether a line of code holds a state or a kind as text, or compares it with a literal.
fn holds_state_as_text(line: &str) -> bool {
    STATES.iter().any(|name| {
        line.match_indices(name).any(|(at, _)| {
            let (before, after) = (&line[..at], &line[at + name.len()..]);
            let whole = !before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            whole && AS_TEXT.iter().any(|it| after.starts_with(it))
        })
    })
}

/// What opens a connection or a transaction, or ends one.
const WAYS_TO_THE_DATABASE: [&str; 9] = [
    "sqlx::PgConnection",
    "sqlx::Connection",
    "sqlx::Acquire",
    "PgPool",
    "PgTransaction",
    "Connection as _",
    "\"BEGIN",
    "\"COMMIT\"",
    "\"ROLLBACK",
];

#[test]
fn there_is_one_way_to_the_database() {
    let mut found = Vec::new();
    let files = files("services", "rs").into_iter();
    for file in files.chain(self::files("shared/chassis", "rs")) {
        let path = file.to_str().unwrap();
        if path.ends_with("chassis/src/database.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let line = line.split("//").next().unwrap();
            let ways = WAYS_TO_THE_DATABASE.iter();
            found.extend(
                ways.filter(|way| line.contains(*way))
                    .map(|way| format!("{path}:{}: `{way}`", number + 1)),
            );
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// The services, their schemas, and the table of each that says whose an account is.
const SCHEMAS: [(&str, &str, &str); 4] = [
    ("plan", "plan", "accounts"),
    ("billing", "billing", "accounts"),
    ("account-lifecycle", "account", "roots"),
    ("payments", "payments", "roots"),
];

/// The tables that each schema has alike. Others of one name are each service's own.
const ALIKE: [&str; 6] = [
    "requests",
    "audit_entries",
    "audit_heads",
    "job_claims",
    "test_clock",
    "page_keys",
];

/// What a unit of work does where stored answers have policies, and only there.
const ENTERS_CALLER: &str = "    PERFORM set_config('app.caller', its_caller, true);\n";

/// The tables and functions that several schemas have alike, told by service, with neutral names of schema and table.
fn told_alike() -> BTreeMap<String, Vec<(&'static str, String)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../services");
    let mut told: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for (service, schema, accounts) in SCHEMAS {
        let file = root.join(service).join("migrations/0001_init.sql");
        let text = fs::read_to_string(file).unwrap();
        // Beginning a unit of work and looking a request up enter the caller.
        let enters = if text.contains("CREATE POLICY of_caller ON") {
            2
        } else {
            0
        };
        assert_eq!(text.matches(ENTERS_CALLER).count(), enters, "{service}");
        for statement in text.replace(ENTERS_CALLER, "").split("\nCREATE ") {
            let Some((kind, rest)) = statement.split_once(&format!(" {schema}.")) else {
                continue;
            };
            let end = match kind {
                "FUNCTION" => "$$;",
                "TABLE" => "\n)",
                _ => continue,
            };
            let name = rest.split([' ', '(']).next().unwrap();
            // What jobs wait for is each service's own.
            let own = name == "next_work" || (kind == "TABLE" && !ALIKE.contains(&name));
            if own {
                continue;
            }
            let text = named(rest.split(end).next().unwrap(), schema);
            let text = text.replace(&format!("SCHEMA.{accounts} it "), "SCHEMA.roots it ");
            let all = told.entry(format!("{kind} {name}")).or_default();
            all.push((service, text));
        }
    }
    told
}

/// A text with a neutral name of its schema, where that qualifies a name and does not end a sentence.
fn named(text: &str, schema: &str) -> String {
    let schema = format!("{schema}.");
    let mut parts = text.split(&schema);
    let mut result = parts.next().unwrap().to_owned();
    for part in parts {
        let qualifies = part.starts_with(|c: char| c.is_ascii_lowercase());
        result.push_str(if qualifies { "SCHEMA." } else { &schema });
        result.push_str(part);
    }
    result
}

#[test]
fn what_several_schemas_have_is_the_same_in_each() {
    let told = told_alike();
    let mut broken = Vec::new();
    for (what, all) in &told {
        let (first, others) = all.split_first().unwrap();
        let differ = others.iter().filter(|other| other.1 != first.1);
        broken.extend(differ.map(|other| format!("{what}: {} and {}", first.0, other.0)));
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    // Six tables; units of work have five functions, the audit has two.
    let in_each = told.values().filter(|all| all.len() == SCHEMAS.len());
    assert_eq!(in_each.count(), ALIKE.len() + 7, "{:?}", told.keys());
}

#[test]
fn every_list_is_answered_with_sealed_tokens() {
    for file in files("services", "rs") {
        let text = fs::read_to_string(&file).unwrap();
        let path = file.to_str().unwrap();
        let Some((service, method)) = path.split_once("/src/rpc/") else {
            continue;
        };
        if text.contains("Page::read(") {
            let method = method.trim_end_matches(".rs");
            let table = fs::read_to_string(format!("{service}/src/rpc.rs")).unwrap();
            let listed = format!("list!(self, request, {method})");
            assert!(table.contains(&listed), "{path} is not called by list!");
        }
    }
}

#[test]
fn no_service_depends_on_another() {
    let manifests = files("services", "toml");
    let manifests: Vec<_> = manifests
        .iter()
        .filter(|path| path.ends_with("Cargo.toml"))
        .collect();
    let name = |path: &PathBuf| {
        path.parent()
            .unwrap()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    for manifest in &manifests {
        let text = fs::read_to_string(manifest).unwrap();
        for other in manifests
            .iter()
            .map(|path| name(path))
            .filter(|other| *other != name(manifest))
        {
            let depends = text.lines().any(|line| {
                line.starts_with(&format!("{other}.")) || line.starts_with(&format!("{other} "))
            });
            assert!(!depends, "{} depends on {other}", manifest.display());
        }
    }
}

#[test]
fn every_part_of_the_contract_has_a_comment() {
    let mut broken = Vec::new();
    for file in files("proto/perdiem", "proto") {
        let text = fs::read_to_string(&file).unwrap();
        let mut previous = "";
        for (number, line) in text.lines().map(str::trim).enumerate() {
            let declares = ["service ", "rpc ", "message ", "enum "]
                .iter()
                .any(|word| line.starts_with(word))
                || line
                    .split_once(" = ")
                    .is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()));
            if declares && !line.starts_with("//") && !previous.starts_with("//") {
                broken.push(format!("{}:{}: {line}", file.display(), number + 1));
            }
            previous = line;
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// Where the number of a requirement, a conflict, a decision or a rule is a heading.
const PAPERS: [&str; 3] = [
    "tests/requirements.md",
    "services/decisions.md",
    "services/reliability.md",
];
/// Later requirements, a row each that begins with its number.
const LATER: &str = "tests/requirements.csv";
/// Where numbers are cited.
const CITING: [(&str, &[&str]); 5] = [
    ("services", &["rs", "sql", "md"]),
    ("shared", &["rs", "md"]),
    ("proto", &["rs", "proto", "md"]),
    ("deploy", &["rs", "md"]),
    ("tests", &["rs", "md"]),
];

#[test]
fn every_citation_is_found_in_the_papers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut known = BTreeSet::new();
    for paper in PAPERS {
        let text = fs::read_to_string(root.join(paper)).unwrap();
        let headings = text.lines().filter_map(|line| line.strip_prefix("### "));
        known.extend(headings.filter_map(|it| it.split(' ').next().map(str::to_owned)));
    }
    if let Ok(rows) = fs::read_to_string(root.join(LATER)) {
        known.extend(rows.lines().flat_map(citations).map(str::to_owned));
    }
    let papers = fs::read_dir(&root).unwrap().map(|it| it.unwrap().path());
    let mut cited: Vec<PathBuf> = papers
        .filter(|path| path.extension().is_some_and(|it| it == "md"))
        .collect();
    for (folder, extensions) in CITING {
        cited.extend(extensions.iter().flat_map(|it| files(folder, it)));
    }
    let (mut count, mut broken) = (0, Vec::new());
    for file in cited {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            for citation in citations(line) {
                count += 1;
                if !known.contains(citation) {
                    broken.push(format!("{}:{}: {citation}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    assert!(500 < count, "only {count} citations were read");
}

#[test]
fn no_contract_cites_a_number() {
    let mut found = Vec::new();
    for file in files("proto/perdiem", "proto") {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let citations = citations(line);
            found.extend(citations.map(|it| format!("{}:{}: {it}", file.display(), number + 1)));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// The numbers that a line cites, such as REQ-016, C-06, D27 and R18.
fn citations(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c));
    words.filter(|word| {
        let kinds = ["REQ-", "C-", "D", "R"];
        let number = kinds.iter().find_map(|kind| word.strip_prefix(kind));
        number.is_some_and(|it| {
            (1..=3).contains(&it.len()) && it.bytes().all(|digit| digit.is_ascii_digit())
        })
    })
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(folder);
    let mut found = Vec::new();
    let mut folders = vec![root];
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
    assert!(
        !found.is_empty(),
        "no .{extension} under {}",
        env!("CARGO_MANIFEST_DIR")
    );
    found
}

#[test]
fn the_index_of_methods_names_each_of_its_service_and_counts_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap();
    let (index, front) = (read("proto/README.md"), read("README.md"));
    let (mut lost, mut all) = (Vec::new(), 0);
    for file in files("proto", "proto") {
        let text = fs::read_to_string(&file).unwrap();
        let package = text.lines().find_map(|it| it.strip_prefix("package "));
        let package = package.unwrap().trim_end_matches(';').to_owned();
        for service in text.split("\nservice ").skip(1) {
            let (name, body) = service.split_once(" {\n").unwrap();
            let body = body.split("\n}").next().unwrap();
            let methods = body.lines().filter_map(|it| it.strip_prefix("  rpc "));
            let methods: Vec<&str> = methods.filter_map(|it| it.split('(').next()).collect();
            all += methods.len();
            let heading = format!("### {package}.{name}\n");
            let Some((_, section)) = index.split_once(&heading) else {
                lost.push(heading);
                continue;
            };
            let section = section.split("\n### ").next().unwrap();
            let count = format!("{} methods;", methods.len());
            if !section.contains(&count) {
                lost.push(format!("{name}: {count}"));
            }
            let named = |it: &&str| section.contains(&format!("\n| `{it}`"));
            let unnamed = methods.iter().filter(|it| !named(it));
            lost.extend(unnamed.map(|it| format!("{name}/{it}")));
        }
    }
    assert!(100 < all, "{all} methods");
    assert!(lost.is_empty(), "not in proto/README.md: {lost:#?}");
    assert!(
        front.contains(&format!("all {all} methods")),
        "README.md: {all} methods"
    );
}
