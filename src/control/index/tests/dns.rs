//! Names of the cluster.

use super::*;

#[test]
fn names_of_the_control_plane_resolve_to_it() {
    let (east, _) = east();
    for name in ["linkerd-dst-headless", "linkerd-policy", "linkerd-identity-headless"] {
        let found = east.dns(&format!("{name}.linkerd.svc.cluster.local."));
        assert_eq!(found, ["10.9.9.9".parse::<IpAddr>().unwrap()]);
    }
    assert!(east.dns("linkerd-policy.other.svc.cluster.local").is_empty());
    assert!(east.dns("example.com").is_empty());
}
