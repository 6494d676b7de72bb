//! Whom one authorization lets in.

use super::*;

#[test]
fn tls_for_another_name_proves_nothing_and_tls_without_a_certificate_no_identity() {
    let opaque = |authentication| of(ServerProtocol::Opaque, vec![authz("a", "0.0.0.0/0", authentication)]);
    let any_id = || Authentication::Identities(vec![IdentityMatch::Suffix(Vec::new())]);
    let passthrough = Peer::Passthrough("boss.ns".parse().unwrap());
    for (peer, tls, id) in [
        (identified("web.ns"), true, true),
        (Peer::Anonymous, true, false),
        (passthrough, false, false),
        (PLAIN, false, false),
    ] {
        let may = |authentication| tcp(&opaque(authentication), CLIENT, &peer).is_ok();
        assert!(may(Authentication::Unauthenticated), "{peer:?}");
        assert_eq!((may(Authentication::TlsUnauthenticated), may(any_id())), (tls, id), "{peer:?}");
    }
}

#[test]
fn addresses_are_judged_by_network_mapped_ones_as_what_they_stand_for() {
    let policy = net_in_and_except();
    for (client, allowed) in [
        ("10.1.2.3", true),
        ("::ffff:10.1.2.3", true),
        ("10.9.2.3", false),
        ("::ffff:10.9.2.3", false),
        ("11.0.0.1", false),
        ("::1", false),
    ] {
        assert_eq!(tcp(&policy, client.parse().unwrap(), &PLAIN).is_ok(), allowed, "{client}");
    }
}
