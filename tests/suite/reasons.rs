//! Reasons of refusals are part of the contracts: what a service can say is named there, and what is named there can be
//! said by some service.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proto::r#type::v1::Reason;

/// The services: the folder of each, and its contract.
const SERVICES: [(&str, &str); 4] = [
    ("services/plan", "plan"),
    ("services/billing", "billing"),
    ("services/account-lifecycle", "account"),
    ("services/payments", "payments"),
];

/// Functions outside of the tables of errors that give reasons: the file, and where the function begins.
const SAID_ELSEWHERE: [(&str, &str); 4] = [
    ("shared/chassis/src/standing.rs", "pub const fn reason"),
    ("shared/chassis/src/texts.rs", "pub fn refuse<"),
    ("shared/chassis/src/gate.rs", "fn blamed_rightly"),
    (
        "services/account-lifecycle/src/domain/capability.rs",
        "pub const fn name(self) -> &'static str {\n        match self {\n            Self::AccountClosed",
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file without its tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let tests = text.find("#[cfg(test)]").unwrap_or(text.len());
    text[..tests].to_owned()
}

/// Every file of Rust below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|it| it == "rs") {
            files.push(path);
        }
    }
    files
}

/// Whether a word is written as reasons are.
fn is_reason(word: &str) -> bool {
    let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    3 < word.len() && word.bytes().all(plain) && word.starts_with(|c: char| c.is_ascii_uppercase())
}

/// What stands between two of `mark` and is written as a reason.
fn between(text: &str, mark: char) -> BTreeSet<String> {
    let words = text.split(mark).filter(|it| is_reason(it));
    words.map(str::to_owned).collect()
}

/// The text of a function from `start` to its end, which is indented as its beginning.
fn function<'t>(text: &'t str, start: &str) -> &'t str {
    let at = text.find(start).unwrap_or_else(|| panic!("{start}"));
    let line = text[..at].rfind('\n').map_or(0, |it| it + 1);
    let indented = at - line;
    let end = format!("\n{}}}\n", " ".repeat(indented));
    let rest = &text[at..];
    &rest[..rest.find(&end).unwrap_or(rest.len())]
}

/// The reasons that a service gives itself: those of its table of errors, and of what that asks.
fn said_by(folder: &str) -> BTreeSet<String> {
    let path = root().join(folder).join("src/error.rs");
    let mut said = between(&code(&path), '"');
    for (file, start) in SAID_ELSEWHERE {
        if file.starts_with(folder) {
            let text = code(&root().join(file));
            said.extend(between(function(&text, start), '"'));
        }
    }
    said
}

/// The reasons that every service gives, as it stands on the chassis.
fn said_by_all() -> BTreeSet<String> {
    let mut said = said_in_passing("shared/chassis");
    for (file, start) in SAID_ELSEWHERE {
        if file.starts_with("shared/chassis") {
            let text = code(&root().join(file));
            said.extend(between(function(&text, start), '"'));
        }
    }
    said
}

/// The reasons that are given where a refusal is made.
fn said_in_passing(folder: &str) -> BTreeSet<String> {
    let mut said = BTreeSet::new();
    for file in sources(&root().join(folder).join("src")) {
        for made in code(&file).split("Refusal::").skip(1) {
            let arguments = made.split(')').next().unwrap();
            said.extend(between(arguments, '"'));
        }
    }
    said
}

/// The comments of a contract, of all its files.
fn comments(contract: &str) -> String {
    let folder = root().join(format!("proto/perdiem/{contract}/v1"));
    let mut text = String::new();
    for file in fs::read_dir(folder).unwrap() {
        text += &fs::read_to_string(file.unwrap().path()).unwrap();
    }
    let comments = text.lines().filter_map(|it| it.trim().strip_prefix("//"));
    comments.collect::<Vec<_>>().join("\n")
}

/// The reasons that any method may refuse for, as the enum of the contracts lists them.
fn shared() -> BTreeSet<String> {
    let values = (1..).map_while(|number| Reason::try_from(number).ok());
    let names = values.map(|it| it.as_str_name().trim_start_matches("REASON_").to_owned());
    names.collect()
}

#[test]
fn what_every_service_can_refuse_for_is_the_list_that_they_share() {
    assert_eq!(said_by_all(), shared());
}

#[test]
fn what_a_service_can_refuse_for_is_named_in_its_contract() {
    let mut missing = BTreeMap::new();
    for (folder, contract) in SERVICES {
        let said: BTreeSet<_> = said_by(folder)
            .union(&said_in_passing(folder))
            .cloned()
            .collect();
        assert!(10 < said.len(), "{folder}: {said:?}");
        let mut named = between(&comments(contract), '`');
        named.extend(shared());
        let unnamed: Vec<_> = said.difference(&named).cloned().collect();
        if !unnamed.is_empty() {
            missing.insert(contract, unnamed);
        }
    }
    assert!(missing.is_empty(), "said and not named: {missing:?}");
}

#[test]
fn what_a_contract_names_some_service_can_say() {
    // What a service passes on is said by another.
    let mut said = said_by_all();
    let mut values = BTreeSet::new();
    for (folder, contract) in SERVICES {
        for file in sources(&root().join(folder).join("src")) {
            said.extend(between(&code(&file), '"'));
        }
        let path = format!("proto/perdiem/{contract}/v1/{contract}.proto");
        let text = fs::read_to_string(root().join(path)).unwrap();
        let names = text.lines().filter_map(|it| it.trim().split(" = ").next());
        values.extend(names.filter(|it| is_reason(it)).map(str::to_owned));
    }
    let is_value = |it: &String| {
        values
            .iter()
            .any(|value| value == it || value.ends_with(&format!("_{it}")))
    };
    let mut unsaid = BTreeMap::new();
    for (_, contract) in SERVICES {
        let named = between(&comments(contract), '`');
        assert!(10 < named.len(), "{contract}");
        let never: Vec<_> = named
            .into_iter()
            .filter(|it| !said.contains(it) && !is_value(it))
            .collect();
        if !never.is_empty() {
            unsaid.insert(contract, never);
        }
    }
    assert!(unsaid.is_empty(), "named and never said: {unsaid:?}");
}

#[test]
fn a_reason_in_a_contract_is_marked_as_one() {
    // A word in capitals without marks is what a field may be, and escapes the other tests where it is a reason.
    let mut faults = Vec::new();
    for (folder, contract) in SERVICES {
        let said = said_by(folder);
        for line in comments(contract).lines() {
            // Codes of gRPC, and values of enums, are written alike.
            let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '`'));
            let bare = words.filter(|it| is_reason(it) && it.contains('_') && said.contains(*it));
            faults.extend(bare.map(|it| format!("{contract}: {it} in {line}")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
