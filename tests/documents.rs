//! Do the tables in README.md and ARCHITECTURE.md say what the code says, and are there the tests that
//! tests/README.md names?
//!
//! A table stands between `<!-- table: NAME -->` and `<!-- end -->`. With `CAUSEWAY_WRITE_TABLES=1`
//! the tests write the tables instead of comparing them.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::fs;
use std::path::Path;

use causeway::config::{Row, variables};
use causeway::control::check::{CHECKS, Check, Severity};
use causeway::error::Reason;

const PREFIX_OF_OUR_OWN: &str = "CAUSEWAY_";

#[test]
fn the_readme_names_every_variable() {
    let (own, shared): (Vec<_>, Vec<_>) =
        variables::rows().into_iter().partition(|row| row.name.starts_with(PREFIX_OF_OUR_OWN));
    assert_table("README.md", "environment", &environment(shared));
    assert_table("README.md", "own environment", &environment(own));
}

#[test]
fn the_architecture_lists_every_reason_with_its_row() {
    let head = "| reason | HTTP | gRPC | label | closes | another endpoint | what the operator is told |";
    let rows = Reason::ALL.map(|reason| {
        let row = reason.row();
        let yes = |is: bool| if is { "yes" } else { "" };
        let [closes, retry] = [row.closes, row.retry].map(yes);
        let status = row.status.as_u16();
        format!(
            "| `{}` | {status} | {} | {} | {closes} | {retry} | {} |",
            row.name, row.grpc, row.label, row.message
        )
    });
    assert_table("ARCHITECTURE.md", "reasons", &table(head, rows));
}

#[test]
fn the_readme_names_every_check() {
    let head = "| check | finds as a rule | holds where nothing is found | needs | remedy |";
    let rows = CHECKS.iter().map(|check| {
        let Check { name, severity, holds, needs, remedy } = check;
        let severity = if *severity == Severity::Error { "an error" } else { "a warning" };
        format!("| `{name}` | {severity} | {holds} | {} | {remedy} |", needs.flags())
    });
    assert_table("README.md", "checks", &table(head, rows));
}

#[test]
fn every_test_that_the_list_of_facts_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = fs::read_to_string(root.join("tests/README.md")).unwrap();
    let mut sources = String::new();
    for folder in ["src", "tests"] {
        gather(&root.join(folder), &mut sources);
    }
    let words = list.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named: Vec<_> = words.filter(|word| word.matches('_').count() >= 3).collect();
    assert!(named.len() > 20, "the list names tests: {named:?}");
    let missing: Vec<_> = named.iter().filter(|name| !sources.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "tests/README.md names tests that there are not: {missing:?}");
}

#[test]
fn every_fact_has_its_test_or_says_why_it_has_none() {
    let list = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/README.md")).unwrap();
    let rows: Vec<_> = list.lines().filter(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 100, "{}", rows.len());
    for row in rows {
        let mut cells = row.split('|').map(str::trim);
        let (fact, test) = (cells.nth(1), cells.nth_back(1));
        assert!(fact.is_some_and(|it| !it.is_empty()) && test.is_some_and(|it| !it.is_empty()), "{row}");
    }
}

/// The text of every Rust file below a folder.
fn gather(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

fn environment(rows: Vec<Row>) -> String {
    let line = |row: Row| {
        let default = match row.default {
            None => String::new(),
            Some("") => "empty".to_owned(),
            Some(text) => format!("`{text}`"),
        };
        format!("| `{}` | {default} | {} | {} |", row.name, row.meaning, row.expected)
    };
    table("| variable | default | meaning | takes |", rows.into_iter().map(line))
}

fn table(head: &str, rows: impl IntoIterator<Item = String>) -> String {
    let rule = "|---".repeat(head.matches('|').count() - 1) + "|";
    let lines = [head.to_owned(), rule].into_iter().chain(rows);
    lines.map(|line| line + "\n").collect()
}

fn assert_table(file: &str, name: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = fs::read_to_string(&path).unwrap();
    let begin = format!("<!-- table: {name} -->\n");
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{file} has no table {name:?}"));
    let (found, after) = rest.split_once("<!-- end -->").unwrap_or_else(|| panic!("{name:?} has no end"));
    if std::env::var_os("CAUSEWAY_WRITE_TABLES").is_some() {
        fs::write(&path, format!("{before}{begin}{expected}<!-- end -->{after}")).unwrap();
        return;
    }
    assert_eq!(
        found, expected,
        "{file}: write it anew with CAUSEWAY_WRITE_TABLES=1 cargo test --test documents"
    );
}
