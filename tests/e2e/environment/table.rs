//! Every variable of the table, set to a good value, a bad one and nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use causeway::config::{Config, Row, variables};
use nix::unistd::geteuid;

use super::cases::{Case, Outcome, cases};
use super::process;

/// What has no default and must be there.
pub fn required() -> BTreeMap<String, String> {
    let controller = "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local";
    [
        ("POLICY_SVC_ADDR", "linkerd-policy.linkerd.svc.cluster.local.:8090"),
        ("POLICY_SVC_NAME", controller),
        ("POLICY_WORKLOAD", "{\"ns\":\"shop\", \"pod\":\"web\"}\n"),
        ("DESTINATION_SVC_ADDR", "linkerd-dst-headless.linkerd.svc.cluster.local.:8086"),
        ("DESTINATION_SVC_NAME", controller),
        ("IDENTITY_DIR", "/tmp"),
        ("IDENTITY_TRUST_ANCHORS", "-----BEGIN CERTIFICATE-----\n"),
        ("IDENTITY_TOKEN_FILE", "/etc/passwd"),
        ("IDENTITY_SVC_ADDR", "linkerd-identity-headless.linkerd.svc.cluster.local.:8080"),
        ("IDENTITY_SVC_NAME", "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local"),
        ("IDENTITY_LOCAL_NAME", "web.shop.serviceaccount.identity.linkerd.cluster.local"),
    ]
    .map(|(name, value)| (format!("LINKERD2_PROXY_{name}"), value.to_owned()))
    .into()
}

/// The environment of one try of a case.
fn env(case: &Case, value: Option<&str>) -> BTreeMap<String, String> {
    let mut env = required();
    env.extend(case.with.iter().map(|(name, value)| (name.to_string(), value.to_string())));
    for name in case.without {
        env.remove(*name);
    }
    env.extend(value.map(|value| (case.name.to_owned(), value.to_owned())));
    env
}

fn read(case: &Case, value: Option<&str>) -> Result<Config, Vec<String>> {
    let env = env(case, value);
    let lines =
        |errors: causeway::config::ConfigErrors| errors.to_string().lines().map(str::to_owned).collect();
    Config::from_env(&|name| env.get(name).cloned()).map_err(lines)
}

/// How a problem with this value is reported.
fn problem(row: &Row, value: &str, expected: Option<&str>) -> String {
    format!("{}={value:?} is not valid: expected {}", row.name, expected.unwrap_or(row.expected))
}

/// Says what is wrong with the outcome of one value, if anything is.
fn check(case: &Case, row: &Row, value: &str, outcome: &Outcome) -> Result<(), String> {
    let read = read(case, Some(value));
    let start = format!("{}=", row.name);
    let told = |config: &Config| config.ignored.iter().filter(|e| e.to_string().starts_with(&start)).count();
    let seen = match (outcome, &read) {
        (Outcome::Fatal(expected), Err(lines)) => {
            if *lines == [problem(row, value, *expected)] {
                return Ok(());
            }
            format!("{lines:?}")
        }
        (Outcome::Is(text) | Outcome::Warned(text), Ok(config)) => {
            let warned = usize::from(matches!(outcome, Outcome::Warned(_)));
            if (case.get)(config) == *text && told(config) == warned {
                return Ok(());
            }
            format!("{}, and {:?}", (case.get)(config), config.ignored)
        }
        (_, Ok(config)) => (case.get)(config),
        (_, Err(lines)) => format!("{lines:?}"),
    };
    Err(format!("{}={value:?}: expected {outcome:?}, and it was {seen}", row.name))
}

#[test]
fn every_variable_does_as_the_table_says_with_a_good_a_bad_and_an_empty_value() {
    let rows = variables::rows();
    let cases = cases();
    let named: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
    let known: BTreeSet<_> = rows.iter().map(|row| row.name).collect();
    assert_eq!(named, known, "every variable of the table has a case, and no other has");
    assert_eq!(cases.len(), rows.len(), "and only one");
    let mut wrong = Vec::new();
    for case in &cases {
        let row = rows.iter().find(|row| row.name == case.name).unwrap();
        let (good, rendered) = &case.good;
        wrong.extend(check(case, row, good, rendered).err());
        if let Some((bad, outcome)) = &case.bad {
            wrong.extend(check(case, row, bad, outcome).err());
        }
        wrong.extend(check(case, row, "", &case.empty).err());
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_is_not_set_is_what_the_table_gives_as_default() {
    for row in variables::rows() {
        let case = cases().into_iter().find(|case| case.name == row.name).unwrap();
        let Some(default) = row.default else { continue };
        let alone = Case { with: &[], ..case };
        // Some must be set with others, and then cannot be left out alone.
        let same = [(case, case), (alone, case), (alone, alone)].iter().any(|(unset, set)| {
            let shown = |of: Result<Config, _>| of.ok().map(|config| (case.get)(&config));
            let unset = shown(read(unset, None));
            unset.is_some() && unset == shown(read(set, Some(default)))
        });
        assert!(same, "{}", row.name);
    }
}

#[test]
fn a_process_ends_with_64_and_the_problem_for_every_value_that_is_fatal() {
    let rows = variables::rows();
    let mut tried = 0;
    for case in cases() {
        let row = rows.iter().find(|row| row.name == case.name).unwrap();
        let bad = case.bad.iter().map(|(value, outcome)| (*value, outcome));
        for (value, outcome) in bad.chain([("", &case.empty)]) {
            let Outcome::Fatal(expected) = outcome else { continue };
            let ended = process::run_to_end(&env(&case, Some(value)));
            let problem = problem(row, value, *expected);
            assert_eq!(ended.code, Some(64), "{problem}: {}", ended.stderr);
            assert!(ended.stderr.lines().any(|line| line == problem), "{problem} not in {}", ended.stderr);
            tried += 1;
        }
    }
    assert!(tried > 120, "{tried}");
}

#[test]
fn a_process_reports_all_mistakes_at_once_files_and_encoding_among_them() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("token");
    std::fs::write(&empty, "").unwrap();
    let mut env = required();
    let mut set = |name: &str, value: &str| env.insert(format!("LINKERD2_PROXY_{name}"), value.to_owned());
    set("IDENTITY_TOKEN_FILE", empty.to_str().unwrap());
    set("IDENTITY_DIR", "/nowhere");
    set("INBOUND_LISTEN_ADDR", "localhost:4143");
    set("OUTBOUND_HTTP_FAILFAST_TIMEOUT", "3");
    env.remove("LINKERD2_PROXY_POLICY_WORKLOAD");
    let ended = process::run_to_end_with(&env, |command| {
        use std::os::unix::ffi::OsStrExt;
        let latin1 = std::ffi::OsStr::from_bytes(b"caf\xe9");
        command.env("LINKERD2_PROXY_DESTINATION_CONTEXT", latin1);
    });
    assert_eq!(ended.code, Some(64));
    for (place, expected) in [
        ("LINKERD2_PROXY_IDENTITY_TOKEN_FILE=", "a file that is not empty"),
        ("LINKERD2_PROXY_IDENTITY_DIR=\"/nowhere\"", "a folder that is there"),
        ("LINKERD2_PROXY_INBOUND_LISTEN_ADDR=\"localhost:4143\"", "IP:PORT"),
        ("LINKERD2_PROXY_OUTBOUND_HTTP_FAILFAST_TIMEOUT=\"3\"", "an integer with a unit"),
        ("LINKERD2_PROXY_POLICY_WORKLOAD is not set", "any text"),
        ("LINKERD2_PROXY_DESTINATION_CONTEXT=\"caf\u{fffd}\"", "text in UTF-8"),
    ] {
        let found = ended.stderr.lines().any(|line| line.starts_with(place) && line.contains(expected));
        assert!(found, "{place} … {expected} not in {}", ended.stderr);
    }
    assert_eq!(ended.stderr.lines().count(), 6, "{}", ended.stderr);
}

#[test]
fn a_mark_that_may_not_be_set_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("causeway");
    std::fs::copy(env!("CARGO_BIN_EXE_causeway"), &program).unwrap();
    let mut env = required();
    env.insert("CAUSEWAY_MARK".to_owned(), "7".to_owned());
    let mut command = Command::new(program);
    command.arg("proxy").env_clear().envs(&env);
    if geteuid().is_root() {
        // Anybody else will do.
        command.uid(65534).gid(65534);
    }
    let ended = command.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(64), "{said}");
    let problem = "CAUSEWAY_MARK=\"7\" is not valid: expected nothing, or CAP_NET_ADMIN to set it with";
    assert!(said.lines().count() == 1 && said.starts_with(problem), "{said}");
}
