//! Filters are written for the reference: what they say of its targets goes for the modules that do here
//! what those targets do there.
//!
//! A target goes for everything that it is the beginning of, as there: `linkerd` for the whole program,
//! `linkerd_app` for all that follows it. What has no counterpart here is silent anyway.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, ParseError};

/// Our modules and the reference's targets that they stand for.
const MODULES: [(&str, &[&str]); 15] = [
    ("admin", &["linkerd_app_admin"]),
    ("app", &["linkerd_app", "linkerd2_proxy"]),
    ("authorize", &["linkerd_app_inbound", "linkerd_proxy_server_policy"]),
    ("balance", &["linkerd_proxy_balance", "linkerd_pool_p2c"]),
    ("cli", &["linkerd2_proxy"]),
    ("connect", &["linkerd_proxy_transport", "linkerd_reconnect", "linkerd_proxy_http"]),
    ("controller", &["linkerd_app_core", "linkerd_dns", "linkerd_proxy_dns_resolve"]),
    ("detect", &["linkerd_http_detect", "linkerd_tls"]),
    ("discover", &["linkerd_proxy_api_resolve", "linkerd_proxy_client_policy", "linkerd_service_profiles"]),
    ("identity", &["linkerd_identity", "linkerd_proxy_identity_client"]),
    ("inbound", &["linkerd_app_inbound"]),
    ("message", &["linkerd_proxy_http", "linkerd_http"]),
    ("net", &["linkerd_proxy_transport", "linkerd_proxy_tcp", "linkerd_transport_header"]),
    ("outbound", &["linkerd_app_outbound"]),
    ("tls", &["linkerd_meshtls", "linkerd_rustls", "linkerd_tls"]),
];

const EVERYTHING: &str = "linkerd";

/// The library wonders at answers to PINGs that it did not send (`connect::pulse`).
const QUIET: &str = "h2::proto::ping_pong=error";

/// A whole filter.
///
/// # Errors
/// A directive cannot be understood.
pub(super) fn parse(filter: &str) -> Result<EnvFilter, ParseError> {
    // Read whole, so that what is left out below must be well-formed as well.
    read(filter)?;
    read(&quiet(translated(split(filter))))
}

/// What can be understood of a filter, and what cannot.
pub(super) fn parse_lossy(filter: &str) -> (EnvFilter, Vec<&str>) {
    let (good, bad): (Vec<_>, Vec<_>) = split(filter).partition(|directive| read(directive).is_ok());
    let filter = read(&quiet(translated(good.into_iter())));
    (filter.unwrap_or_else(|_| EnvFilter::new(LevelFilter::WARN.to_string())), bad)
}

fn quiet(directives: String) -> String {
    let said = if directives.is_empty() { "warn" } else { directives.as_str() };
    format!("{QUIET},{said}")
}

/// As the reference reads filters: warnings where nothing is said, and fields compared literally.
fn read(directives: &str) -> Result<EnvFilter, ParseError> {
    let builder = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).with_regex(false);
    builder.parse(directives)
}

fn split(filter: &str) -> impl Iterator<Item = &str> {
    filter.split(',').map(str::trim).filter(|directive| !directive.is_empty())
}

/// In the order of how much their targets say: several can become one of ours, and the last one holds.
fn translated<'a>(directives: impl Iterator<Item = &'a str>) -> String {
    let mut directives: Vec<_> = directives.filter(|directive| !is_moot(directive)).collect();
    directives.sort_by_key(|directive| target(directive).len());
    let own: Vec<_> = directives.into_iter().flat_map(own).collect();
    own.join(",")
}

fn own(directive: &str) -> Vec<String> {
    let target = target(directive);
    let rest = &directive[target.len()..];
    if !target.starts_with(EVERYTHING) {
        return vec![directive.to_owned()];
    }
    let ours = env!("CARGO_PKG_NAME");
    if target == EVERYTHING {
        return vec![format!("{ours}{rest}")];
    }
    let of_crate = target.split("::").next().unwrap_or(target);
    let stands_for = |theirs: &[&str]| theirs.iter().any(|known| known.starts_with(of_crate));
    let modules = MODULES.iter().filter(|(_, theirs)| stands_for(theirs));
    modules.map(|(module, _)| format!("{ours}::{module}{rest}")).collect()
}

fn target(directive: &str) -> &str {
    &directive[..directive.find(['=', '[']).unwrap_or(directive.len())]
}

/// The injector silences header logging this way. Nothing here records such fields, and a filter on span
/// fields would make every disabled event ask the filter each time.
fn is_moot(directive: &str) -> bool {
    ["[{headers}]=off", "[{request}]=off"].contains(&directive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_go_for_the_modules_that_do_the_same() {
        for (typed, ours) in [
            ("linkerd=info", "causeway=info"),
            ("linkerd", "causeway"),
            ("linkerd[{client}]=debug", "causeway[{client}]=debug"),
            ("linkerd_app_outbound=debug", "causeway::outbound=debug"),
            ("linkerd_app_inbound::policy=trace", "causeway::authorize=trace,causeway::inbound=trace"),
            ("linkerd2_proxy[x]=trace", "causeway::app[x]=trace,causeway::cli[x]=trace"),
            ("linkerd_dns=debug,linkerd=error", "causeway=error,causeway::controller=debug"),
            ("linkerd_stack=trace", ""),
            ("hickory=error", "hickory=error"),
            ("warn", "warn"),
            ("warn,linkerd=info,[{headers}]=off,[{request}]=off", "warn,causeway=info"),
        ] {
            assert_eq!(translated(split(typed)), ours, "{typed}");
        }
    }

    #[test]
    fn the_modules_are_those_of_this_program() {
        let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for (module, theirs) in MODULES {
            assert!(source.join(module).with_extension("rs").exists(), "{module}");
            assert!(theirs.iter().all(|target| target.starts_with(EVERYTHING)), "{module}");
        }
    }

    #[test]
    fn what_can_be_understood_is_kept() {
        let (filter, bad) = parse_lossy("warn,linkerd=loud,hickory=error,[{a=off");
        assert_eq!(filter.to_string(), "h2::proto::ping_pong=error,hickory=error,warn");
        assert_eq!(bad, ["linkerd=loud", "[{a=off"]);
        assert_eq!(parse_lossy("").0.to_string(), "h2::proto::ping_pong=error,warn");
    }

    #[test]
    fn no_event_has_a_field_that_the_injector_silences() {
        let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                for line in text.lines().filter(|line| line.contains("!(")) {
                    let logs = ["trace!(", "debug!(", "info!(", "warn!(", "error!("];
                    let silenced =
                        ["?headers", "%headers", "headers =", "?request,", "%request,", "request ="];
                    let of_an_event = logs.iter().any(|log| line.contains(log));
                    assert!(!(of_an_event && silenced.iter().any(|f| line.contains(f))), "{path:?}: {line}");
                }
            }
        }
    }
}
