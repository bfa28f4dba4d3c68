//! The rules of the tree that neither rustc nor clippy keeps.

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
    ("src/rpc", &["sqlx::query", "crate::jobs"]),
    ("src/ops", &["sqlx::query", "crate::rpc", "crate::jobs"]),
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
