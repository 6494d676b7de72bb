//! A name server for one cluster, over UDP and TCP: what `index` knows of a name, as records.
//!
//! Names under the cluster's domain are answered for or do not exist; others are refused, as there
//! is nobody to ask on. Packets that cannot be read are dropped.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, NS, PTR, SOA, SRV};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::bind;
use crate::control::Snapshot;
use crate::control::index::{Records, Resolved};
use crate::drain::Drain;
use crate::net::listen::unbound;

/// Answers change with the manifests; short enough for that, and what resolvers keep at least
/// (contract 1.4).
const TTL: u32 = 5;

/// What fits into one packet on any network; larger answers are asked for again over TCP.
const LARGEST_PACKET: u16 = 1232;

/// How long a TCP client may take for its next question.
const IDLE: Duration = Duration::from_secs(5);

/// TCP connections at one time.
const CONNECTIONS: usize = 64;

const PAUSE: Duration = Duration::from_millis(50);

/// Where questions come in.
#[derive(Debug)]
pub struct Sockets {
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Sockets {
    /// Binds both on `addr`; with port 0, the same free port.
    pub async fn bind(addr: SocketAddr) -> io::Result<Self> {
        let tcp = bind(addr).await?;
        let bound = tcp.local_addr()?;
        let udp = UdpSocket::bind(bound).await.map_err(unbound(bound))?;
        Ok(Self { tcp, udp })
    }

    /// Where they are.
    pub fn bound(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// Serves until drained.
pub fn start(sockets: Sockets, snapshots: watch::Receiver<Arc<Snapshot>>, drain: &Drain) {
    drain.spawn(serve_udp(sockets.udp, snapshots.clone(), drain.clone()));
    drain.spawn(serve_tcp(sockets.tcp, snapshots, drain.clone()));
}

async fn serve_udp(socket: UdpSocket, snapshots: watch::Receiver<Arc<Snapshot>>, drain: Drain) {
    let mut packet = [0; 4096];
    loop {
        let received = tokio::select! {
            () = drain.signaled() => return,
            received = socket.recv_from(&mut packet) => received,
        };
        let (length, client) = match received {
            Ok(received) => received,
            // A client that went away shows up as an error here; it concerns nobody else.
            Err(error) => {
                tracing::debug!(%error, "DNS receive failed");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let snapshot = snapshots.borrow().clone();
        if let Some(answer) = answer(&packet[..length], &snapshot, true) {
            let _ = socket.send_to(&answer, client).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, snapshots: watch::Receiver<Arc<Snapshot>>, drain: Drain) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = drain.signaled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((io, _)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // Without a free slot the connection is closed: a resolver tries again.
        let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
        let (snapshots, ending) = (snapshots.clone(), drain.clone());
        drain.spawn(async move {
            tokio::select! {
                () = ending.signaled() => {}
                _ = converse(io, snapshots) => {}
            }
            drop(slot);
        });
    }
}

async fn converse(mut io: TcpStream, snapshots: watch::Receiver<Arc<Snapshot>>) -> io::Result<()> {
    loop {
        let question = timeout(IDLE, async {
            let mut question = vec![0; io.read_u16().await?.into()];
            io.read_exact(&mut question).await?;
            Ok::<_, io::Error>(question)
        });
        let question = question.await??;
        let snapshot = snapshots.borrow().clone();
        let Some(answer) = answer(&question, &snapshot, false) else { return Ok(()) };
        let Ok(length) = u16::try_from(answer.len()) else { return Ok(()) };
        let framed = [&length.to_be_bytes()[..], &answer].concat();
        timeout(IDLE, io.write_all(&framed)).await??;
    }
}

/// Answers one message; `None` where it is no question at all.
fn answer(packet: &[u8], snapshot: &Snapshot, udp: bool) -> Option<Vec<u8>> {
    let question = Message::from_vec(packet).ok()?;
    // An answer to an answer would never end.
    if question.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut reply = Message::response(question.metadata.id, question.metadata.op_code);
    reply.metadata = Metadata::response_from_request(&question.metadata);
    reply.add_queries(question.queries.iter().cloned());
    if question.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(LARGEST_PACKET);
        reply.set_edns(edns);
    }
    match question.queries.as_slice() {
        _ if question.metadata.op_code != OpCode::Query => {
            reply.metadata.response_code = ResponseCode::NotImp
        }
        [query] => fill(&mut reply, query, snapshot),
        _ => reply.metadata.response_code = ResponseCode::FormErr,
    }
    let bytes = reply.to_vec().ok()?;
    let limit = if udp { question.max_payload().min(LARGEST_PACKET) } else { u16::MAX };
    if bytes.len() > limit.into() { shortened(reply, limit.into()) } else { Some(bytes) }
}

/// As much of it as fits. What comes beside the answer need not be there; where some of the answer itself is missing, it
/// says so, for those who can ask again over TCP.
fn shortened(mut reply: Message, limit: usize) -> Option<Vec<u8>> {
    reply.additionals.clear();
    loop {
        let bytes = reply.to_vec().ok()?;
        if bytes.len() <= limit || reply.answers.is_empty() {
            return Some(bytes);
        }
        reply.metadata.truncation = true;
        let left = reply.answers.len() * limit / bytes.len();
        reply.answers.truncate(left.min(reply.answers.len() - 1));
    }
}

fn fill(reply: &mut Message, query: &Query, snapshot: &Snapshot) {
    let found = match query.query_class() {
        DNSClass::IN => snapshot.resolve(&query.name().to_ascii()),
        _ => Resolved::Foreign,
    };
    let records = match found {
        Resolved::Foreign => {
            reply.metadata.response_code = ResponseCode::Refused;
            return;
        }
        Resolved::Unknown => {
            reply.metadata.response_code = ResponseCode::NXDomain;
            Records::default()
        }
        Resolved::Known(records) => records,
    };
    reply.metadata.authoritative = true;
    add_records(reply, query, &records);
    add_zone(reply, query, &snapshot.settings().cluster_domain);
    // How long the answer that there is nothing may be kept.
    if reply.answers.is_empty() {
        reply.authorities.extend(authority(&snapshot.settings().cluster_domain));
    }
}

fn add_records(reply: &mut Message, query: &Query, records: &Records) {
    let kind = query.query_type();
    let asked = |of: RecordType| kind == of || kind == RecordType::ANY;
    let mut owner = query.name().clone();
    for alias in &records.aliases {
        let Some(target) = fully_qualified(alias) else { return };
        let data = RData::CNAME(CNAME(target.clone()));
        reply.add_answer(Record::from_rdata(owner, TTL, data));
        owner = target;
        if kind == RecordType::CNAME {
            return;
        }
    }
    reply.add_answers(address_records(&owner, &records.addresses, asked));
    if asked(RecordType::SRV) {
        for service in &records.services {
            let Some(target) = fully_qualified(&service.target) else { continue };
            let data = RData::SRV(SRV::new(0, 100, service.port, target.clone()));
            reply.add_answer(Record::from_rdata(owner.clone(), TTL, data));
            // Ports of one target follow each other.
            if reply.additionals.last().is_none_or(|last| last.name != target) {
                reply.add_additionals(address_records(&target, &service.addresses, |_| true));
            }
        }
    }
    if asked(RecordType::PTR) {
        let names = records.names.iter().filter_map(|name| fully_qualified(name));
        reply.add_answers(names.map(|name| Record::from_rdata(owner.clone(), TTL, RData::PTR(PTR(name)))));
    }
}

/// What is asked of the domain itself: where its records are, and who keeps them.
fn add_zone(reply: &mut Message, query: &Query, domain: &str) {
    let Some(zone) = fully_qualified(domain).filter(|zone| zone == query.name()) else { return };
    let kind = query.query_type();
    if matches!(kind, RecordType::SOA | RecordType::ANY) {
        reply.answers.extend(authority(domain));
    }
    let server = fully_qualified(&format!("ns.dns.{domain}"));
    if let Some(server) = server.filter(|_| matches!(kind, RecordType::NS | RecordType::ANY)) {
        reply.add_answer(Record::from_rdata(zone, TTL, RData::NS(NS(server))));
    }
}

/// In an order of chance, since many clients use the first.
fn address_records(owner: &Name, addresses: &[IpAddr], asked: impl Fn(RecordType) -> bool) -> Vec<Record> {
    let data = addresses.iter().filter_map(|ip| match ip {
        IpAddr::V4(ip) => asked(RecordType::A).then(|| RData::A((*ip).into())),
        IpAddr::V6(ip) => asked(RecordType::AAAA).then(|| RData::AAAA((*ip).into())),
    });
    let mut records: Vec<_> = data.map(|data| Record::from_rdata(owner.clone(), TTL, data)).collect();
    fastrand::shuffle(&mut records);
    records
}

fn authority(domain: &str) -> Option<Record> {
    let zone = fully_qualified(domain)?;
    let (server, mail) =
        (fully_qualified(&format!("ns.dns.{domain}"))?, fully_qualified(&format!("hostmaster.{domain}"))?);
    let data = RData::SOA(SOA::new(server, mail, 1, 7200, 1800, 86400, TTL));
    Some(Record::from_rdata(zone, TTL, data))
}

fn fully_qualified(name: &str) -> Option<Name> {
    Name::from_ascii(format!("{}.", name.trim_end_matches('.'))).ok()
}

#[cfg(test)]
mod tests;
