//! One question, one answer: messages of DNS as bytes.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::control::Snapshot;
use crate::control::index::{Records, Resolved};

/// Answers change with the manifests; short enough for that, and what resolvers keep at least
/// (contract 1.4).
pub(super) const TTL: u32 = 5;

/// What fits into one packet on any network; larger answers are asked for again over TCP.
const LARGEST_PACKET: u16 = 1232;

/// That of names with addresses of both families, as CoreDNS has it.
const SCHEMA: &str = "1.1.0";

/// The smallest record: a name that was there before, kind, class, time to live, and an address.
const SMALLEST_RECORD: usize = 16;

/// What an answer may take.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Nothing: it is not looked for, and the question is to be asked again over TCP.
    None,
    /// A packet as large as the client takes.
    Packet,
    /// What a message over TCP can hold.
    Stream,
}

/// Answers one message; `None` where it is no question at all.
pub(super) fn answer(packet: &[u8], snapshot: &Snapshot, room: Room) -> Option<Vec<u8>> {
    if let Some(code) = refused_unread(packet)? {
        return refusal(packet, code);
    }
    let question = Message::from_vec(packet).ok()?;
    let [query] = question.queries.as_slice() else { return refusal(packet, ResponseCode::FormErr) };
    let mut reply = Message::response(question.metadata.id, question.metadata.op_code);
    reply.metadata = Metadata::response_from_request(&question.metadata);
    reply.add_query(query.clone());
    if question.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(LARGEST_PACKET);
        reply.set_edns(edns);
    }
    let limit = usize::from(match room {
        Room::None => {
            reply.metadata.truncation = true;
            return reply.to_vec().ok();
        }
        Room::Packet => question.max_payload().min(LARGEST_PACKET),
        Room::Stream => u16::MAX,
    });
    fill(&mut reply, query, snapshot, limit / SMALLEST_RECORD);
    shortened(reply, limit)
}

/// What the header says is decided before the rest is read, which may be a page of names that point at each other.
/// The outer `None`: not even a header, or an answer, and an answer to an answer would never end.
fn refused_unread(packet: &[u8]) -> Option<Option<ResponseCode>> {
    let [_, _, flags, _, counts @ ..] = packet.first_chunk::<12>()?;
    if flags & 0x80 != 0 {
        return None;
    }
    if OpCode::from_u8(flags >> 3 & 0xf) != OpCode::Query {
        return Some(Some(ResponseCode::NotImp));
    }
    // One question, and beside it what it may take and who signed it.
    Some(match counts {
        [0, 1, 0, 0, 0, 0, 0, 0..=2] => None,
        _ => Some(ResponseCode::FormErr),
    })
}

/// Without a question: it was not looked at.
fn refusal(packet: &[u8], code: ResponseCode) -> Option<Vec<u8>> {
    let [first, second, flags, ..] = *packet.first_chunk::<12>()?;
    let id = u16::from_be_bytes([first, second]);
    Message::error_msg(id, OpCode::from_u8(flags >> 3 & 0xf), code).to_vec().ok()
}

/// As much of it as fits. What comes beside the answer need not be there; where some of the answer itself is missing, it
/// says so, for those who can ask again over TCP.
fn shortened(mut reply: Message, limit: usize) -> Option<Vec<u8>> {
    let bytes = reply.to_vec().ok()?;
    if bytes.len() <= limit {
        return Some(bytes);
    }
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

/// With `most` records of a kind at most, since no more could fit.
fn fill(reply: &mut Message, query: &Query, snapshot: &Snapshot, most: usize) {
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
    add_records(reply, query, &records, most);
    add_zone(reply, query, &snapshot.settings().cluster_domain);
    // How long the answer that there is nothing may be kept.
    if reply.answers.is_empty() {
        reply.authorities.extend(authority(&snapshot.settings().cluster_domain));
    }
}

fn add_records(reply: &mut Message, query: &Query, records: &Records, most: usize) {
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
    let addresses = records.addresses.iter().filter(|ip| asked(kind_of(ip)));
    reply.metadata.truncation |= addresses.clone().count() > most;
    reply.add_answers(address_records(&owner, addresses, most));
    if asked(RecordType::SRV) {
        reply.metadata.truncation |= records.services.len() > most;
        for service in records.services.iter().take(most) {
            let Some(target) = fully_qualified(&service.target) else { continue };
            let data = RData::SRV(SRV::new(0, 100, service.port, target.clone()));
            reply.add_answer(Record::from_rdata(owner.clone(), TTL, data));
            // Ports of one target follow each other.
            if reply.additionals.last().is_none_or(|last| last.name != target) {
                reply.add_additionals(address_records(&target, service.addresses.iter(), most));
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
    add_version(reply, query, domain);
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

/// Which version of Kubernetes' schema for names this is (specification 2.2).
fn add_version(reply: &mut Message, query: &Query, domain: &str) {
    let asked = matches!(query.query_type(), RecordType::TXT | RecordType::ANY);
    let owner = fully_qualified(&format!("dns-version.{domain}"));
    if let Some(owner) = owner.filter(|owner| asked && owner == query.name()) {
        let data = RData::TXT(TXT::new(vec![SCHEMA.to_owned()]));
        reply.add_answer(Record::from_rdata(owner, TTL, data));
    }
}

fn kind_of(ip: &IpAddr) -> RecordType {
    if ip.is_ipv4() { RecordType::A } else { RecordType::AAAA }
}

/// In an order of chance, since many clients use the first.
fn address_records<'a>(
    owner: &Name,
    addresses: impl Iterator<Item = &'a IpAddr>,
    most: usize,
) -> Vec<Record> {
    let mut addresses: Vec<IpAddr> = addresses.copied().collect();
    fastrand::shuffle(&mut addresses);
    let data = addresses.into_iter().take(most).map(|ip| match ip {
        IpAddr::V4(ip) => RData::A(ip.into()),
        IpAddr::V6(ip) => RData::AAAA(ip.into()),
    });
    data.map(|data| Record::from_rdata(owner.clone(), TTL, data)).collect()
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
