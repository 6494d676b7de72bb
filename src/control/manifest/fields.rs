//! Which fields there are in the specs of policy and Links.
//!
//! What else stands there counts for nothing, and may have been meant to keep somebody out. An API server refuses it
//! where it is asked to, as `kubectl` does by default; here it is told, since a newer Linkerd may have it. The fields are
//! those of Linkerd's definitions, in an HTTPRoute those of Gateway API's own too, so that nothing is told that somebody
//! obeys. Selectors refuse other fields where they are read.

use super::Problem;
use super::reader::Reader;
use super::yaml::{Key, Node, Value};

/// The fields of a mapping, or of each one in a list; where there are none it is not looked into.
struct Fields(&'static [(&'static str, Self)]);

const ANY: Fields = Fields(&[]);

const NAMED: Fields =
    Fields(&[("group", ANY), ("kind", ANY), ("name", ANY), ("namespace", ANY), ("sectionName", ANY)]);

const NETWORK: Fields = Fields(&[("cidr", ANY), ("except", ANY)]);

const SERVER: Fields = Fields(&[
    ("podSelector", ANY),
    ("externalWorkloadSelector", ANY),
    ("port", ANY),
    ("proxyProtocol", ANY),
    ("accessPolicy", ANY),
]);

/// An API server drops `accessPolicy` from them.
const SERVER_BEFORE_V1BETA3: Fields =
    Fields(&[("podSelector", ANY), ("externalWorkloadSelector", ANY), ("port", ANY), ("proxyProtocol", ANY)]);

const AUTHORIZATION_POLICY: Fields = Fields(&[("targetRef", NAMED), ("requiredAuthenticationRefs", NAMED)]);

const MESH_TLS: Fields = Fields(&[("identities", ANY), ("identityRefs", NAMED)]);

const NETWORKS: Fields = Fields(&[("networks", NETWORK)]);

const SERVER_AUTHORIZATION: Fields = Fields(&[
    ("server", Fields(&[("name", ANY), ("selector", ANY)])),
    (
        "client",
        Fields(&[
            ("networks", NETWORK),
            ("unauthenticated", ANY),
            (
                "meshTLS",
                Fields(&[
                    ("unauthenticatedTLS", ANY),
                    ("identities", ANY),
                    ("serviceAccounts", Fields(&[("name", ANY), ("namespace", ANY)])),
                ]),
            ),
        ]),
    ),
]);

const RATE: Fields = Fields(&[("requestsPerSecond", ANY)]);

const RATE_LIMIT: Fields = Fields(&[
    ("targetRef", NAMED),
    ("total", RATE),
    ("identity", RATE),
    ("overrides", Fields(&[("requestsPerSecond", ANY), ("clientRefs", NAMED)])),
]);

const EGRESS_NETWORK: Fields = Fields(&[("trafficPolicy", ANY), ("networks", NETWORK)]);

const PAIR: Fields = Fields(&[("type", ANY), ("name", ANY), ("value", ANY)]);

const HEADERS: Fields = Fields(&[("set", PAIR), ("add", PAIR), ("remove", ANY)]);

const NEW_PATH: Fields = Fields(&[("type", ANY), ("replaceFullPath", ANY), ("replacePrefixMatch", ANY)]);

const FILTER: Fields = Fields(&[
    ("type", ANY),
    ("requestHeaderModifier", HEADERS),
    ("responseHeaderModifier", HEADERS),
    (
        "requestRedirect",
        Fields(&[("scheme", ANY), ("hostname", ANY), ("path", NEW_PATH), ("port", ANY), ("statusCode", ANY)]),
    ),
    ("urlRewrite", Fields(&[("hostname", ANY), ("path", NEW_PATH)])),
    ("requestMirror", ANY),
    ("extensionRef", NAMED),
    ("cors", ANY),
    ("externalAuth", ANY),
]);

const HTTP_ROUTE: Fields = Fields(&[
    (
        "parentRefs",
        Fields(&[
            ("group", ANY),
            ("kind", ANY),
            ("name", ANY),
            ("namespace", ANY),
            ("sectionName", ANY),
            ("port", ANY),
        ]),
    ),
    ("useDefaultGateways", ANY),
    ("hostnames", ANY),
    (
        "rules",
        Fields(&[
            ("name", ANY),
            (
                "matches",
                Fields(&[
                    ("path", Fields(&[("type", ANY), ("value", ANY)])),
                    ("headers", PAIR),
                    ("queryParams", PAIR),
                    ("method", ANY),
                ]),
            ),
            ("filters", FILTER),
            (
                "backendRefs",
                Fields(&[
                    ("group", ANY),
                    ("kind", ANY),
                    ("name", ANY),
                    ("namespace", ANY),
                    ("port", ANY),
                    ("weight", ANY),
                    ("filters", FILTER),
                ]),
            ),
            ("timeouts", Fields(&[("request", ANY), ("backendRequest", ANY)])),
            ("retry", ANY),
            ("sessionPersistence", ANY),
        ]),
    ),
]);

/// Of all versions, with both spellings of what mirrors do not bring along.
const LINK: Fields = Fields(&[
    ("targetClusterName", ANY),
    ("targetClusterDomain", ANY),
    ("targetClusterLinkerdNamespace", ANY),
    ("clusterCredentialsSecret", ANY),
    ("gatewayAddress", ANY),
    ("gatewayIdentity", ANY),
    ("gatewayPort", ANY),
    (
        "probeSpec",
        Fields(&[("failureThreshold", ANY), ("path", ANY), ("period", ANY), ("port", ANY), ("timeout", ANY)]),
    ),
    ("selector", ANY),
    ("remoteDiscoverySelector", ANY),
    ("federatedServiceSelector", ANY),
    ("excludedAnnotations", ANY),
    ("excludedLabels", ANY),
    ("excludeAnnotations", ANY),
    ("excludeLabels", ANY),
]);

fn of(group: &str, kind: &str, version: &str) -> Option<Fields> {
    Some(match (group, kind) {
        ("multicluster.linkerd.io", "Link") => LINK,
        ("policy.linkerd.io", "Server") if version == "v1beta3" => SERVER,
        ("policy.linkerd.io", "Server") => SERVER_BEFORE_V1BETA3,
        ("policy.linkerd.io", "AuthorizationPolicy") => AUTHORIZATION_POLICY,
        ("policy.linkerd.io", "MeshTLSAuthentication") => MESH_TLS,
        ("policy.linkerd.io", "NetworkAuthentication") => NETWORKS,
        ("policy.linkerd.io", "ServerAuthorization") => SERVER_AUTHORIZATION,
        ("policy.linkerd.io", "HTTPLocalRateLimitPolicy") => RATE_LIMIT,
        ("policy.linkerd.io", "EgressNetwork") => EGRESS_NETWORK,
        ("policy.linkerd.io", "HTTPRoute") => HTTP_ROUTE,
        _ => return None,
    })
}

/// Gathers the fields of the object's spec that there are not.
pub(super) fn look(reader: &mut Reader, object: &Node, (group, kind): (&str, &str), version: &str) {
    if let (Some(fields), Some(spec)) = (of(group, kind, version), object.get("spec")) {
        below(reader, spec, &fields, &format!("a {kind} of {version}"));
    }
}

fn below(reader: &mut Reader, node: &Node, fields: &Fields, whole: &str) {
    if fields.0.is_empty() {
        return;
    }
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| below(reader, item, fields, whole)),
        Value::Map(entries) => {
            for (key, value) in entries {
                match fields.0.iter().find(|(name, _)| *name == key.text) {
                    Some((_, fields)) => below(reader, value, fields, whole),
                    None => tell(reader, key, fields, whole),
                }
            }
        }
        // What else it may be is told where it is read.
        _ => {}
    }
}

fn tell(reader: &mut Reader, key: &Key, fields: &Fields, whole: &str) {
    let expected = match nearest(&key.text, fields) {
        Some(name) => format!("`{name}`"),
        None => fields.0.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    };
    let at = reader.place_of(key);
    let message = format!("{whole} has no field {:?} here: it counts for nothing", key.text);
    reader.unknown.push(Problem { at, message, expected });
}

/// No field's name is longer, misspelt or not. Bytes.
const LONGEST: usize = 64;

/// The field that was probably meant.
fn nearest(text: &str, fields: &Fields) -> Option<&'static str> {
    // The comparison takes the product of both lengths.
    if text.len() > LONGEST {
        return None;
    }
    let likeness =
        |name: &str| strsim::normalized_damerau_levenshtein(&name.to_lowercase(), &text.to_lowercase());
    let rated = fields.0.iter().map(|(name, _)| (likeness(name), *name));
    let best = rated.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (best.0 > 0.6).then_some(best.1)
}
