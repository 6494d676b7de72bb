//! Over real sockets; what is asked well here, and in `hostile` badly.

mod hostile;

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, NS, PTR, TXT};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::answer::TTL;
use super::*;
use crate::control::serve::testing::{Guide, LIMIT};

struct Served {
    addr: SocketAddr,
    bb: IpAddr,
    drain: Drain,
    _folder: crate::control::files::Folder,
    _guide: Guide,
}

async fn serve() -> Served {
    serve_with(None).await
}

async fn serve_with(more: Option<&str>) -> Served {
    let guide = Guide::new();
    if let Some(more) = more {
        guide.write("east/09-more.yaml", more);
    }
    let folder = guide.open("east");
    let drain = Drain::default();
    let sockets = Sockets::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let addr = sockets.bound().unwrap();
    start(sockets, folder.snapshots(), &drain);
    let bb = folder.snapshots().borrow().service("mc-demo", "bb").unwrap().cluster_ip.unwrap();
    Served { addr, bb, drain, _folder: folder, _guide: guide }
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

async fn socket(served: &Served) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(served.addr).await.unwrap();
    socket
}

async fn ask(socket: &UdpSocket, message: &Message) -> Message {
    socket.send(&message.to_vec().unwrap()).await.unwrap();
    let mut packet = [0; 4096];
    let length = timeout(LIMIT, socket.recv(&mut packet)).await.unwrap().unwrap();
    let answer = Message::from_vec(&packet[..length]).unwrap();
    assert_eq!(answer.metadata.id, message.metadata.id);
    answer
}

fn addresses(message: &Message) -> Vec<IpAddr> {
    message.answers.iter().filter_map(|record| record.data.ip_addr()).collect()
}

#[tokio::test]
async fn services_resolve_and_other_names_below_the_domain_do_not_exist() {
    let served = serve().await;
    let socket = socket(&served).await;
    for name in ["bb.mc-demo.svc.cluster.local.", "BB.mc-demo.SVC.cluster.local."] {
        let found = ask(&socket, &question(name, RecordType::A)).await;
        assert_eq!(
            (addresses(&found), found.metadata.response_code),
            (vec![served.bb], ResponseCode::NoError)
        );
    }
    let cases = [
        ("bb.mc-demo.svc.cluster.local.", RecordType::AAAA, ResponseCode::NoError),
        ("bb.mc-demo.svc.cluster.local.", RecordType::SRV, ResponseCode::NoError),
        ("no.mc-demo.svc.cluster.local.", RecordType::A, ResponseCode::NXDomain),
        ("example.com.", RecordType::A, ResponseCode::Refused),
        ("notcluster.local.", RecordType::A, ResponseCode::Refused),
    ];
    for (name, kind, code) in cases {
        let answer = ask(&socket, &question(name, kind)).await;
        assert_eq!((addresses(&answer), answer.metadata.response_code), (vec![], code), "{name} {kind}");
    }
}

#[tokio::test]
async fn what_is_no_question_is_dropped_and_hurts_nobody() {
    let served = serve().await;
    let socket = socket(&served).await;
    let good = question("bb.mc-demo.svc.cluster.local.", RecordType::A);
    let answer = ask(&socket, &good).await.to_vec().unwrap();
    let whole = good.to_vec().unwrap();
    for junk in [&b""[..], &[0xff; 600], &whole[..whole.len() - 1], &answer] {
        socket.send(junk).await.unwrap();
    }
    // Had any of them been answered, that answer would come first, and have another id or no answers.
    let next = question("bb.mc-demo.svc.cluster.local.", RecordType::A);
    assert_eq!(addresses(&ask(&socket, &next).await), [served.bb]);
    let mut two = question("bb.mc-demo.svc.cluster.local.", RecordType::A);
    two.add_query(two.queries[0].clone());
    assert_eq!(ask(&socket, &two).await.metadata.response_code, ResponseCode::FormErr);
}

#[tokio::test]
async fn tcp_answers_several_questions_and_ends_when_drained() {
    let served = serve().await;
    let mut io = TcpStream::connect(served.addr).await.unwrap();
    for _ in 0..2 {
        let question = question("linkerd-dst-headless.linkerd.svc.cluster.local.", RecordType::A);
        let answer = ask_on(&mut io, &question).await;
        assert_eq!(addresses(&answer), [IpAddr::from([127, 0, 0, 1])]);
    }
    assert_eq!(served.drain.finish(LIMIT).await, 0);
    assert_eq!(timeout(LIMIT, io.read(&mut [0])).await.unwrap().unwrap(), 0);
}

const MANY: &str = "
apiVersion: v1
kind: Service
metadata: {name: ring, namespace: mc-demo}
spec: {clusterIP: None, ports: [{name: sql, port: 5000}], selector: {app: ring}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: ring, namespace: mc-demo}
spec:
  serviceName: ring
  replicas: 100
  selector: {matchLabels: {app: ring}}
  template: {metadata: {labels: {app: ring}}, spec: {containers: [{name: c, image: x}]}}
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: mc-demo}
spec: {type: ExternalName, externalName: bb.mc-demo.svc.cluster.local}
";

async fn ask_by_tcp(served: &Served, message: &Message) -> Message {
    let mut io = TcpStream::connect(served.addr).await.unwrap();
    ask_on(&mut io, message).await
}

async fn ask_on(io: &mut TcpStream, message: &Message) -> Message {
    io.write_all(&framed(message)).await.unwrap();
    let length = timeout(LIMIT, io.read_u16()).await.unwrap().unwrap();
    let mut answer = vec![0; length.into()];
    io.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

fn framed(message: &Message) -> Vec<u8> {
    let question = message.to_vec().unwrap();
    [&(question.len() as u16).to_be_bytes()[..], &question].concat()
}

#[tokio::test]
async fn what_does_not_fit_a_packet_is_asked_for_again_over_tcp() {
    let served = serve_with(Some(MANY)).await;
    let socket = socket(&served).await;
    let name = "ring.mc-demo.svc.cluster.local.";
    let mut message = question(name, RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    message.set_edns(edns);
    let cut = ask(&socket, &message).await;
    assert!(cut.metadata.truncation && (30..100).contains(&cut.answers.len()), "{}", cut.answers.len());
    let whole = ask_by_tcp(&served, &message).await;
    assert!(!whole.metadata.truncation);
    assert_eq!(addresses(&whole).len(), 100);
    let one = ask(&socket, &question("ring-7.ring.mc-demo.svc.cluster.local.", RecordType::A)).await;
    assert!(addresses(&whole).contains(&addresses(&one)[0]));
}

#[tokio::test]
async fn ports_aliases_and_names_of_addresses_are_told_and_how_long_nothing_may_be_kept() {
    let served = serve_with(Some(MANY)).await;
    let socket = socket(&served).await;
    let srv =
        ask(&socket, &question("_sql._tcp.ring-7.ring.mc-demo.svc.cluster.local.", RecordType::SRV)).await;
    assert_eq!(srv.metadata.response_code, ResponseCode::NXDomain);
    let soa = srv.authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(soa.minimum),
        _ => None,
    });
    assert_eq!(soa, Some(TTL));

    let srv =
        ask_by_tcp(&served, &question("_sql._tcp.ring.mc-demo.svc.cluster.local.", RecordType::SRV)).await;
    assert_eq!((srv.answers.len(), srv.additionals.len()), (100, 100));
    let RData::SRV(first) = &srv.answers[0].data else { panic!("{srv:?}") };
    assert_eq!((first.priority, first.port), (0, 5000));

    let alias = ask(&socket, &question("alias.mc-demo.svc.cluster.local.", RecordType::A)).await;
    let name = Name::from_ascii("bb.mc-demo.svc.cluster.local.").unwrap();
    assert_eq!(alias.answers[0].data, RData::CNAME(CNAME(name.clone())));
    assert_eq!((addresses(&alias), &alias.answers[1].name), (vec![served.bb], &name));

    let pointer = ask(&socket, &question(&Name::from(served.bb).to_ascii(), RecordType::PTR)).await;
    assert_eq!(pointer.answers[0].data, RData::PTR(PTR(name)));

    let version = ask(&socket, &question("dns-version.cluster.local.", RecordType::TXT)).await;
    assert_eq!(version.answers[0].data, RData::TXT(TXT::new(vec!["1.1.0".into()])));

    let soa = ask(&socket, &question("cluster.local.", RecordType::SOA)).await;
    assert!(matches!(&soa.answers[..], [record] if record.record_type() == RecordType::SOA), "{soa:?}");
    let ns = ask(&socket, &question("Cluster.Local.", RecordType::NS)).await;
    let server = Name::from_ascii("ns.dns.cluster.local.").unwrap();
    assert_eq!(ns.answers[0].data, RData::NS(NS(server)));
}
