use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, SOA, SRV};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use tokio::net::UdpSocket;

use super::*;

/// Seconds that answers of "no such name" hold.
const NEGATIVE: u32 = 40;

/// A name server for one name; what it has no record for does not exist.
pub(in crate::controller) async fn server(name: &'static str, records: Vec<RData>, ttl: u32) -> Dns {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut name = Name::from_ascii(name).unwrap();
        name.set_fqdn(true);
        let mut packet = [0; 4096];
        while let Ok((count, client)) = socket.recv_from(&mut packet).await {
            let query = Message::from_vec(&packet[..count]).unwrap();
            let mut answer = query.into_response();
            let asked = answer.queries[0].clone();
            for data in records.iter().filter(|data| data.record_type() == asked.query_type()) {
                if *asked.name() == name {
                    answer.add_answer(Record::from_rdata(name.clone(), ttl, data.clone()));
                }
            }
            if answer.answers.is_empty() {
                answer.metadata.response_code = ResponseCode::NXDomain;
                let zone = Name::from_ascii("cluster.local.").unwrap();
                let soa = SOA::new(zone.clone(), zone.clone(), 1, 60, 60, 60, NEGATIVE);
                answer.add_authority(Record::from_rdata(zone, NEGATIVE, RData::SOA(soa)));
            }
            socket.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
        }
    });
    let mut udp = ConnectionConfig::udp();
    udp.port = addr.port();
    let servers = vec![NameServerConfig::new(addr.ip(), true, vec![udp])];
    let config = ResolverConfig::from_parts(None, Vec::new(), servers);
    let mut options = ResolverOpts::default();
    options.cache_size = 0;
    options.attempts = 1;
    let builder = Resolver::builder_with_config(config, Sockets::default());
    let resolver = builder.with_options(options).build().unwrap();
    Dns { source: Source::Servers(resolver.into()), ttl: config::Dns::default(), counts: Arc::default() }
}

/// The service record of a replica at this address.
pub(in crate::controller) fn replica(name: &str, addr: SocketAddr) -> RData {
    srv_record(addr.port(), &format!("{}.{name}.", addr.ip().to_string().replace(['.', ':'], "-")))
}

fn srv_record(port: u16, target: &str) -> RData {
    RData::SRV(SRV::new(1, 1, port, Name::from_ascii(target).unwrap()))
}

const NAME: &str = "linkerd-dst-headless.linkerd.svc.cluster.local.";

async fn resolve(dns: &Dns) -> Result<Vec<String>, Error> {
    let found = dns.resolve(&NAME.parse().unwrap(), 8086).await?;
    assert_eq!(found.ttl, Duration::from_secs(30));
    Ok(found.addrs.iter().map(ToString::to_string).collect())
}

#[tokio::test]
async fn service_records_name_the_replicas_and_their_ports() {
    let dns = server(
        NAME,
        vec![
            srv_record(9000, &format!("10-42-0-15.{NAME}")),
            srv_record(9001, &format!("2001-db8--42.{NAME}")),
            srv_record(9002, &format!("some-pod.{NAME}")),
            RData::A(A::new(10, 0, 0, 1)),
        ],
        30,
    );
    let mut found = resolve(&dns.await).await.unwrap();
    found.sort();
    assert_eq!(found, ["10.42.0.15:9000", "[2001:db8::42]:9001"]);
}

#[tokio::test]
async fn without_usable_service_records_addresses_and_the_configured_port_count() {
    let addresses = [RData::A(A::new(10, 0, 0, 1)), RData::AAAA(AAAA::new(0xfd00, 0, 0, 0, 0, 0, 0, 1))];
    let useless = srv_record(9000, &format!("some-pod.{NAME}"));
    for records in [addresses.to_vec(), [addresses.to_vec(), vec![useless]].concat()] {
        let mut found = resolve(&server(NAME, records, 30).await).await.unwrap();
        found.sort();
        assert_eq!(found, ["10.0.0.1:8086", "[fd00::1]:8086"]);
    }
}

#[tokio::test]
async fn an_unknown_name_is_an_error() {
    let dns = server("other.example.", vec![RData::A(A::new(10, 0, 0, 1))], 30).await;
    let error = resolve(&dns).await.unwrap_err();
    assert!(matches!(error, Error::Lookup { .. }), "{error}");
    assert_eq!(error.ttl(), Some(Duration::from_secs(NEGATIVE.into())));
}

#[tokio::test]
async fn answers_hold_as_long_as_they_say_within_the_bounds_that_are_set() {
    let seconds = Duration::from_secs;
    for (says, min, max, holds, negative) in [
        (30, None, None, 30, 40),
        (1, None, None, 5, 40),
        (0, Some(2), None, 5, 40),
        (30, Some(60), None, 60, 60),
        (30, None, Some(10), 10, 10),
        (30, None, Some(1), 5, 5),
        // Contradicting bounds do not end the proxy; the lower one holds.
        (30, Some(90), Some(20), 90, 90),
    ] {
        let mut dns = server(NAME, vec![RData::A(A::new(10, 0, 0, 1))], says).await;
        dns.ttl = config::Dns { min_ttl: min.map(seconds), max_ttl: max.map(seconds) };
        let found = dns.resolve(&NAME.parse().unwrap(), 8086).await.unwrap();
        assert_eq!(found.ttl, seconds(holds), "{says} {min:?} {max:?}");
        let error = dns.resolve(&"nowhere.example".parse().unwrap(), 8086).await.unwrap_err();
        assert_eq!(error.ttl(), Some(seconds(negative)), "{says} {min:?} {max:?}");
    }
}
