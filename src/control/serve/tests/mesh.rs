//! Who serves, in mutual TLS, and its certificate.

use super::*;

/// A client behind mesh TLS, expecting `name` at `addr`.
fn meshed(world: &World, addr: SocketAddr, name: &str) -> Controller {
    let host = "linkerd-control.linkerd.svc.cluster.local";
    let names = Names::default();
    names.set(host.parse::<DnsName>().unwrap(), &[addr]);
    let config = ControllerConfig {
        host: host.parse::<Authority>().unwrap().host,
        port: addr.port(),
        name: Some(name.parse().unwrap()),
        connect_timeout: Duration::from_secs(5),
        backoff: Backoff::new(Duration::from_millis(10), Duration::from_millis(100), 0.1).unwrap(),
        socket: Socket::default(),
        stream_window: 65_535,
        connection_window: 1 << 20,
    };
    let anchors = world.certifier.authority.now().anchors().clone();
    let store = CredentialStore::new(BB_ID.parse().unwrap(), anchors);
    Controller::new(config, Dns::fixed(&names), store).unwrap()
}

#[tokio::test]
async fn mesh_tls_proves_the_controller_to_a_client_without_certificate() {
    let world = World::of("east").await;
    let of = |account: &str| format!("{account}.linkerd.serviceaccount.identity.linkerd.cluster.local");
    let mut client =
        DestinationClient::new(meshed(&world, world.bound.destination, &of("linkerd-destination")));
    let request = GetDestination { path: BB.into(), ..Default::default() };
    let mut stream = in_time(client.get(request)).await.unwrap().into_inner();
    assert_eq!(added(&mut stream).await.len(), 1);

    let mut identity = IdentityClient::new(meshed(&world, world.bound.identity, &of("linkerd-identity")));
    let key = rcgen::KeyPair::generate().unwrap();
    let mut csr = rcgen::CertificateParams::new([BB_ID.to_owned()]).unwrap();
    csr.distinguished_name = rcgen::DistinguishedName::new();
    let account = ServiceAccount::new("mc-demo", "default");
    let now = std::time::SystemTime::now();
    let request = |account: &ServiceAccount| CertifyRequest {
        identity: BB_ID.into(),
        token: world.tokens.issue(account, Duration::from_secs(60), now).into_bytes(),
        certificate_signing_request: csr.serialize_request(&key).unwrap().der().to_vec(),
    };
    in_time(identity.certify(request(&account))).await.unwrap();
    let ghost = ServiceAccount::new("nowhere", "default");
    let refused = in_time(identity.certify(request(&ghost))).await.unwrap_err();
    assert!(refused.message().contains("nowhere/default does not exist"), "{refused}");
}

#[tokio::test]
async fn each_port_presents_its_own_name_only() {
    let world = World::of("east").await;
    let name = "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local";
    let mut client = DestinationClient::new(meshed(&world, world.bound.destination, name));
    let request = GetDestination { path: BB.into(), ..Default::default() };
    let wrong = timeout(Duration::from_secs(2), client.get(request)).await;
    assert!(!matches!(wrong, Ok(Ok(_))), "no answer from somebody else");
}

#[tokio::test(start_paused = true)]
async fn the_own_certificate_is_renewed_before_it_ends() {
    let guide = Guide::new();
    let (certifier, _) = guide.certifier("east");
    let drain = Drain::default();
    let store = own::keep(certifier.authority.clone(), BB_ID.parse().unwrap(), &drain).unwrap();
    let first = store.current().unwrap();
    let before = tokio::time::Instant::now();
    store.subscribe().wait_for(|count| *count == 2).await.unwrap();
    let waited = before.elapsed();
    let hours = |h: u64| Duration::from_secs(h * 3600);
    assert!(waited > hours(16) && waited < hours(17), "{waited:?}");
    assert_ne!(first.leaf(), store.current().unwrap().leaf());
    drain.finish(LIMIT).await;
}
