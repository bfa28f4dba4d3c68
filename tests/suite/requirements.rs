//! Each requirement has a test that runs: one named after it, or for those of the project's own list the ones it names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The requirements from REQ-136 on: which decision each is of, the tests that prove it, and what it says.
const OWN: &str = include_str!("../requirements.csv");

/// Stands in the place of tests where a decision is not built yet.
const NOT_BUILT: &str = "NOT_BUILT";

/// The decisions that have requirements of their own.
const DECISIONS: std::ops::RangeInclusive<u32> = 27..=40;

/// Every requirement of the sources: each has a test that is named after it.
fn required() -> BTreeSet<u32> {
    (1..=135).collect()
}

/// The names of all tests that run.
fn tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = BTreeSet::new();
    for file in sources(&[
        root.join("services"),
        root.join("tests/suite"),
        root.join("shared"),
    ]) {
        // The oracle's own tests are about the oracle.
        if file.ends_with("oracle/naive.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (number, line) in lines.iter().enumerate() {
            let Some(name) = line
                .strip_prefix("async fn ")
                .or_else(|| line.strip_prefix("fn "))
            else {
                continue;
            };
            let attributes = lines[..number]
                .iter()
                .rev()
                .take_while(|it| it.starts_with("#["));
            let attributes: Vec<_> = attributes.collect();
            let is_test = attributes.iter().any(|it| it.contains("test"));
            let ignored = attributes.iter().any(|it| it.contains("ignore"));
            if is_test && !ignored {
                found.insert(name.split('(').next().unwrap().to_owned());
            }
        }
    }
    found
}

#[test]
fn each_requirement_has_a_test_that_is_not_ignored() {
    let found: BTreeSet<u32> = tests()
        .iter()
        .flat_map(|name| {
            let numbers = name.split("req_").skip(1);
            let numbers = numbers.filter_map(|rest| rest.get(..3)?.parse::<u32>().ok());
            numbers.collect::<Vec<_>>()
        })
        .collect();
    let missing: Vec<_> = required().difference(&found).copied().collect();
    assert!(
        missing.is_empty(),
        "requirements without a test: {missing:?}"
    );
}

#[test]
fn each_requirement_of_the_own_list_names_tests_that_run() {
    let known = tests();
    let (mut of, mut faults) = (BTreeSet::new(), Vec::new());
    let mut lines = OWN.lines();
    assert_eq!(lines.next(), Some("number,source,tests,requirement"));
    for (line, number) in lines.zip(required().last().unwrap() + 1..) {
        let cells: Vec<&str> = line.splitn(4, ',').collect();
        let [name, source, tests, says] = cells[..] else {
            panic!("{line}");
        };
        assert_eq!(
            name,
            format!("REQ-{number}"),
            "numbered one after the other"
        );
        let says = says.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
        assert!(says.is_some_and(|it| it.ends_with('.')), "{line}");
        let decision = source.strip_prefix('D').and_then(|it| it.parse().ok());
        of.insert(decision.unwrap_or_else(|| panic!("{line}")));
        // What is not built has no test that could be named.
        let named = tests.split(' ').filter(|it| *it != NOT_BUILT);
        faults.extend(
            named
                .filter(|it| !known.contains(*it))
                .map(|it| format!("{name}: {it}")),
        );
    }
    assert!(faults.is_empty(), "no such test: {}", faults.join(", "));
    assert_eq!(
        of,
        DECISIONS.collect::<BTreeSet<_>>(),
        "each decision has a requirement"
    );
}

fn sources(roots: &[PathBuf]) -> Vec<PathBuf> {
    let mut folders = roots.to_vec();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                files.push(path);
            }
        }
    }
    files
}
