//! Each requirement has a test named after it that runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every requirement: each has a test that is named after it.
fn required() -> BTreeSet<u32> {
    (1..=135).collect()
}

#[test]
fn each_requirement_has_a_test_that_is_not_ignored() {
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
            let name = name.split('(').next().unwrap();
            if is_test && !ignored {
                found.extend(
                    name.split("req_")
                        .skip(1)
                        .filter_map(|rest| rest.get(..3)?.parse::<u32>().ok()),
                );
            }
        }
    }
    let missing: Vec<_> = required().difference(&found).copied().collect();
    assert!(
        missing.is_empty(),
        "requirements without a test: {missing:?}"
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
