//! Who this workload is, and who certifies it.

use std::path::PathBuf;

use super::super::environment::{Environment, Setting};
use super::*;

pub(super) fn identity(env: &mut Environment<'_>) -> Option<Identity> {
    env.optional(&LINKERD2_PROXY_IDENTITY_DISABLED);
    let trust_anchors = trust_source(env);
    let expired_peers = env.value(&CAUSEWAY_EXPIRED_PEERS);
    let (names, issuer) = match spire_socket(env) {
        Some(socket) => (spiffe_names(env), spire(env, &socket).map(Issuer::Spire)),
        None => (local_names(env), certify(env).map(|certify| Issuer::Linkerd(Box::new(certify)))),
    };
    let (id, server_name) = names?;
    Some(Identity { trust_anchors: trust_anchors?, expired_peers, id, server_name, issuer: issuer? })
}

fn certify(env: &mut Environment<'_>) -> Option<Certify> {
    let dir = env.required(&LINKERD2_PROXY_IDENTITY_DIR);
    let token_file = env.required(&LINKERD2_PROXY_IDENTITY_TOKEN_FILE);
    // Certify is one call, not a watch.
    let control = control::client(
        env,
        &LINKERD2_PROXY_IDENTITY_SVC_ADDR,
        &LINKERD2_PROXY_IDENTITY_SVC_NAME,
        StreamLimits::default(),
    );
    let min_refresh = env.value(&LINKERD2_PROXY_IDENTITY_MIN_REFRESH);
    let max_refresh = env.value(&LINKERD2_PROXY_IDENTITY_MAX_REFRESH);
    Some(Certify { dir: dir?, token_file: token_file?, control: control?, min_refresh, max_refresh })
}

/// A file is followed, the environment cannot change: whoever sets both means the file. What the other says must be
/// right all the same.
fn trust_source(env: &mut Environment<'_>) -> Option<TrustSource> {
    if env.is_set(&CAUSEWAY_TRUST_ANCHORS_FILE) {
        let _ = env.optional(&LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS);
        return env.optional(&CAUSEWAY_TRUST_ANCHORS_FILE).map(TrustSource::File);
    }
    env.required(&LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS).map(TrustSource::Text)
}

/// The variable that asks for SPIRE, if any does.
fn spire_socket(env: &Environment<'_>) -> Option<Setting<PathBuf>> {
    let names = [LINKERD2_PROXY_IDENTITY_SPIRE_WORKLOAD_API_ADDRESS, LINKERD2_PROXY_IDENTITY_SPIRE_SOCKET];
    names.into_iter().find(|name| env.is_set(name))
}

fn spire(env: &mut Environment<'_>, socket: &Setting<PathBuf>) -> Option<Spire> {
    let backoff = backoff(
        env,
        &LINKERD2_PROXY_LINKERD2_PROXY_IDENTITY_SPIRE_EXP_BACKOFF_MIN,
        &LINKERD2_PROXY_LINKERD2_PROXY_IDENTITY_SPIRE_EXP_BACKOFF_MAX,
        &LINKERD2_PROXY_LINKERD2_PROXY_IDENTITY_SPIRE_EXP_BACKOFF_JITTER,
    );
    Some(Spire { socket: env.optional(socket)?, backoff })
}

/// With SPIRE the identity is a SPIFFE one, and the server name another name (contract 2.5).
fn spiffe_names(env: &mut Environment<'_>) -> Option<(WorkloadId, DnsName)> {
    if env.is_set(&LINKERD2_PROXY_IDENTITY_LOCAL_NAME) {
        // It would be both, and a DNS name is no SPIFFE identity.
        env.invalid(
            &LINKERD2_PROXY_IDENTITY_LOCAL_NAME,
            "nothing: SPIRE needs a SPIFFE identity and a server name",
        );
        return None;
    }
    let id = env.required(&LINKERD2_PROXY_IDENTITY_SERVER_ID);
    let server_name = env.required(&LINKERD2_PROXY_IDENTITY_SERVER_NAME);
    let id = id?;
    let scheme =
        |uri: &str| uri.split_once("://").is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("spiffe"));
    if !matches!(&id, WorkloadId::Uri(uri) if scheme(uri)) {
        env.invalid(&LINKERD2_PROXY_IDENTITY_SERVER_ID, "a SPIFFE identity, such as spiffe://domain/path");
        return None;
    }
    Some((id, server_name?))
}

/// Without SPIRE, identity and server name are one and the same DNS name (contract 2.1).
fn local_names(env: &mut Environment<'_>) -> Option<(WorkloadId, DnsName)> {
    let (id_setting, id, server_name) = if env.is_set(&LINKERD2_PROXY_IDENTITY_LOCAL_NAME)
        || !(env.is_set(&LINKERD2_PROXY_IDENTITY_SERVER_ID)
            || env.is_set(&LINKERD2_PROXY_IDENTITY_SERVER_NAME))
    {
        (&LINKERD2_PROXY_IDENTITY_LOCAL_NAME, env.required(&LINKERD2_PROXY_IDENTITY_LOCAL_NAME), None)
    } else {
        let id = env.required(&LINKERD2_PROXY_IDENTITY_SERVER_ID);
        let server_name = env.required(&LINKERD2_PROXY_IDENTITY_SERVER_NAME)?;
        (&LINKERD2_PROXY_IDENTITY_SERVER_ID, id, Some(server_name))
    };
    let id = id?;
    match (&id, server_name) {
        (WorkloadId::Dns(name), None) => Some((id.clone(), name.clone())),
        (WorkloadId::Dns(name), Some(server_name)) if *name == server_name => Some((id, server_name)),
        (WorkloadId::Dns(_), Some(_)) => {
            env.invalid(id_setting, format!("the same as {}", LINKERD2_PROXY_IDENTITY_SERVER_NAME.name));
            None
        }
        (WorkloadId::Uri(_), _) => {
            env.invalid(id_setting, "a DNS-like name: URIs need SPIRE");
            None
        }
    }
}
