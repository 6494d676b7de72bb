//! How do several changes reach the kernel as one? As one netlink datagram between a begin and an end marker: the
//! kernel does all of it or nothing, and answers each step.

use std::io;
use std::num::NonZeroI32;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Hook as HookAttribute, HookNumber, InetHookNumber, NfTablesMessage,
    RuleAttribute, RuleMessage, TableAttribute, TableMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use super::Error;
use super::rule::{Hook, Rule};

/// Changes to one table, in order, sent by [`Batch::commit`].
pub(super) struct Batch {
    table: String,
    steps: Vec<Step>,
}

struct Step {
    what: String,
    message: NetlinkMessage<NetfilterMessage>,
}

impl Batch {
    pub(super) fn new(table: &str) -> Self {
        Self { table: table.to_owned(), steps: Vec::new() }
    }

    pub(super) fn add_table(&mut self, family: NetfilterProtoFamily) {
        let message = NfTablesMessage::NewTable(TableMessage { attributes: self.table_name() });
        self.step(format!("add table {}", self.table), family, NLM_F_CREATE, message);
    }

    /// Deletes the table whether it is there or not: deleting what is missing would fail the batch, so it is added
    /// first, which changes nothing if it exists.
    pub(super) fn delete_table(&mut self, family: NetfilterProtoFamily) {
        self.add_table(family);
        let message = NfTablesMessage::DeleteTable(TableMessage { attributes: self.table_name() });
        self.step(format!("delete table {}", self.table), family, 0, message);
    }

    pub(super) fn add_chain(&mut self, family: NetfilterProtoFamily, name: &str, hook: Hook) {
        let attributes = vec![
            ChainAttribute::Table(self.table.clone()),
            ChainAttribute::Name(name.to_owned()),
            ChainAttribute::Hook(vec![
                HookAttribute::Number(HookNumber::Inet(InetHookNumber::from(hook))),
                HookAttribute::Priority(NAT_PRIORITY.cast_unsigned()),
            ]),
            ChainAttribute::Type("nat".to_owned()),
        ];
        let message = NfTablesMessage::NewChain(ChainMessage { attributes });
        self.step(format!("add nat chain {name}"), family, NLM_F_CREATE, message);
    }

    pub(super) fn add_rule(&mut self, family: NetfilterProtoFamily, chain: &str, rule: Rule) {
        let (expressions, userdata) = rule.into_parts();
        let attributes = vec![
            RuleAttribute::Table(self.table.clone()),
            RuleAttribute::Chain(chain.to_owned()),
            RuleAttribute::Expressions(expressions),
            RuleAttribute::UserData(userdata),
        ];
        let message = NfTablesMessage::NewRule(RuleMessage { attributes });
        self.step(format!("add a rule to chain {chain}"), family, NLM_F_CREATE | NLM_F_APPEND, message);
    }

    /// Sends everything and waits for the kernel's word on each step.
    pub(super) fn commit(self) -> Result<(), Error> {
        let socket = connect().map_err(Error::Socket)?;
        let datagram = self.datagram();
        socket.send(&datagram, 0).map_err(Error::Socket)?;
        let mut confirmed = vec![false; self.steps.len()];
        while let Some(step) = confirmed.iter().position(|done| !done) {
            // The kernel answers before `send` returns: an empty queue now is an empty queue for good.
            let answer = match socket.recv_from_full() {
                Ok((answer, _)) => answer,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return Err(Error::Unconfirmed { step: self.steps[step].what.clone() });
                }
                Err(e) => return Err(Error::Socket(e)),
            };
            self.read_answers(&answer, &mut confirmed)?;
        }
        Ok(())
    }

    fn read_answers(&self, mut answer: &[u8], confirmed: &mut [bool]) -> Result<(), Error> {
        while !answer.is_empty() {
            let message = NetlinkMessage::<NetfilterMessage>::deserialize(answer)
                .map_err(|e| Error::Answer(e.to_string()))?;
            if let NetlinkPayload::Error(outcome) = &message.payload {
                let index =
                    usize::try_from(message.header.sequence_number).unwrap_or(usize::MAX).wrapping_sub(1);
                if let Some(code) = outcome.code {
                    return Err(Error::Refused { step: self.what(index), source: os_error(code) });
                }
                if let Some(step) = confirmed.get_mut(index) {
                    *step = true;
                }
            }
            let len = usize::try_from(message.header.length).unwrap_or(usize::MAX).next_multiple_of(4);
            answer = answer.get(len.max(1)..).unwrap_or_default();
        }
        Ok(())
    }

    /// Steps carry sequence numbers from 1; 0 is the begin marker, blamed for what fails only as a whole.
    fn what(&self, index: usize) -> String {
        self.steps.get(index).map_or_else(|| "commit the batch".to_owned(), |step| step.what.clone())
    }

    fn datagram(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        append(&mut bytes, marker(ControlMessage::BatchBegin), 0);
        for (step, number) in self.steps.iter().zip(1..) {
            append(&mut bytes, step.message.clone(), number);
        }
        append(&mut bytes, marker(ControlMessage::BatchEnd), 0);
        bytes
    }

    fn table_name(&self) -> Vec<TableAttribute> {
        vec![TableAttribute::Name(self.table.clone())]
    }

    fn step(&mut self, what: String, family: NetfilterProtoFamily, flags: u16, message: NfTablesMessage) {
        let mut message = netlink(NetfilterHeader::new(family, 0, 0), message);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        self.steps.push(Step { what, message });
    }
}

fn connect() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.set_non_blocking(true)?;
    // Answers then carry only the header of what they answer, and a large batch cannot overrun our queue.
    socket.set_cap_ack(true)?;
    Ok(socket)
}

fn marker(marker: ControlMessage) -> NetlinkMessage<NetfilterMessage> {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFNL_SUBSYS_NFTABLES);
    let mut message = netlink(header, marker);
    message.header.flags = NLM_F_REQUEST;
    message
}

fn netlink(
    header: NetfilterHeader,
    inner: impl Into<NetfilterMessageInner>,
) -> NetlinkMessage<NetfilterMessage> {
    NetlinkMessage::from(NetfilterMessage::new(header, inner))
}

fn append(bytes: &mut Vec<u8>, mut message: NetlinkMessage<NetfilterMessage>, number: u32) {
    message.header.sequence_number = number;
    message.finalize();
    let start = bytes.len();
    bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(&mut bytes[start..start + message.buffer_len()]);
}

/// Netlink carries `-errno`.
fn os_error(code: NonZeroI32) -> io::Error {
    io::Error::from_raw_os_error(code.get().saturating_abs())
}

/// `NF_IP_PRI_NAT_DST`, where redirection belongs for both hooks.
const NAT_PRIORITY: i32 = -100;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
