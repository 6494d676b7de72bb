//! How is one rule said in the kernel's terms? Each match loads a value into a register and compares it; the rule ends
//! in a verdict or a redirect. (Linux: include/uapi/linux/netfilter/nf_tables.h)

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, ExpressionAttribute, Expressions, Immediate, InetHookNumber, ListAttribute,
    Meta, MetaKey, Operator, Payload, Register, Verdict, VerdictAttribute,
};

/// Where a chain is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    PreRouting,
    LocalOut,
}

impl From<Hook> for InetHookNumber {
    fn from(hook: Hook) -> Self {
        match hook {
            Hook::PreRouting => Self::PreRouting,
            Hook::LocalOut => Self::LocalOut,
        }
    }
}

/// One rule under construction: matches in the order given, all of which must hold, then what happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    why: String,
    expressions: Vec<Expressions>,
}

impl Rule {
    /// `why` is kept beside the rule in the kernel and printed by `nft list ruleset`; at most 120 bytes.
    pub(super) fn new(why: &str) -> Self {
        Self { why: why.to_owned(), expressions: Vec::new() }
    }

    pub(super) fn tcp(self) -> Self {
        self.meta_is(MetaKey::L4Proto, vec![IPPROTO_TCP])
    }

    /// TCP destination port in `ports`. Needs [`Rule::tcp`] before it: other protocols keep other things there.
    pub(super) fn ports(self, ports: &RangeInclusive<u16>) -> Self {
        let loaded = self.load(TRANSPORT_HEADER, TCP_DESTINATION_PORT, 2);
        if ports.start() == ports.end() {
            return loaded.compare(Operator::Equal, ports.start().to_be_bytes().to_vec());
        }
        loaded
            .compare(Operator::GreatherThanEqual, ports.start().to_be_bytes().to_vec())
            .compare(Operator::LessThanEqual, ports.end().to_be_bytes().to_vec())
    }

    pub(super) fn uid(self, uid: u32) -> Self {
        self.meta_is(MetaKey::SocketUserId, uid.to_ne_bytes().to_vec())
    }

    pub(super) fn gid(self, gid: u32) -> Self {
        self.meta_is(MetaKey::SocketGroupId, gid.to_ne_bytes().to_vec())
    }

    pub(super) fn mark(self, mark: u32) -> Self {
        self.meta_is(MetaKey::Mark, mark.to_ne_bytes().to_vec())
    }

    /// Output interface by its whole name. The register holds the name filled up with zeros.
    pub(super) fn leaves_by(self, interface: &str) -> Self {
        let mut name = interface.as_bytes().to_vec();
        name.resize(INTERFACE_NAME, 0);
        self.meta_is(MetaKey::Oifname, name)
    }

    pub(super) fn source(self, net: IpNet) -> Self {
        let (family, offset, address, mask) = match net {
            IpNet::V4(net) => {
                (NFPROTO_IPV4, 12, net.network().octets().to_vec(), net.netmask().octets().to_vec())
            }
            IpNet::V6(net) => {
                (NFPROTO_IPV6, 8, net.network().octets().to_vec(), net.netmask().octets().to_vec())
            }
        };
        let len = u32::try_from(address.len()).unwrap_or(u32::MAX);
        self.meta_is(MetaKey::Nfproto, vec![family])
            .load(NETWORK_HEADER, offset, len)
            .expression(Expressions::Bitwise(vec![
                Bitwise::SourceRegister(Register::Reg1),
                Bitwise::DestinationRegister(Register::Reg1),
                Bitwise::Length(len),
                Bitwise::Mask(DataAttribute::Value(mask)),
                Bitwise::Xor(DataAttribute::Value(vec![0; address.len()])),
            ]))
            .compare(Operator::Equal, address)
    }

    /// Sent to this address. Only in a table of its family.
    pub(super) fn destination(self, address: IpAddr) -> Self {
        let (offset, octets) = (if address.is_ipv4() { 16 } else { 24 }, octets(address));
        let len = u32::try_from(octets.len()).unwrap_or(u32::MAX);
        self.load(NETWORK_HEADER, offset, len).compare(Operator::Equal, octets)
    }

    /// Leaves the connection as it is.
    pub(super) fn leave(self) -> Self {
        let verdict = DataAttribute::Verdict(vec![VerdictAttribute::Code(Verdict::Return)]);
        self.expression(Expressions::Immediate(vec![
            Immediate::DestinationRegister(Register::Verdict),
            Immediate::Data(verdict),
        ]))
    }

    /// Sends the connection to `port` of this host. `redir` has no type in the netlink crate, hence the raw form.
    pub(super) fn redirect(self, port: u16) -> Self {
        let port = DataAttribute::Value(port.to_be_bytes().to_vec());
        let from = u32::from(Register::Reg1).to_be_bytes().to_vec();
        self.expression(Expressions::Immediate(vec![
            Immediate::DestinationRegister(Register::Reg1),
            Immediate::Data(port),
        ]))
        .expression(Expressions::Other {
            expression_type: "redir".to_owned(),
            attributes: vec![
                DefaultNla::new(NFTA_REDIR_REG_PROTO_MIN, from.clone()),
                DefaultNla::new(NFTA_REDIR_REG_PROTO_MAX, from),
            ],
        })
    }

    /// Sends the connection to `server` instead, to the same port. `nat` has no type in the netlink crate either.
    pub(super) fn deliver(self, server: IpAddr) -> Self {
        let family = if server.is_ipv4() { NFPROTO_IPV4 } else { NFPROTO_IPV6 };
        let number = |value: u32| value.to_be_bytes().to_vec();
        let register = number(u32::from(Register::Reg1));
        self.expression(Expressions::Immediate(vec![
            Immediate::DestinationRegister(Register::Reg1),
            Immediate::Data(DataAttribute::Value(octets(server))),
        ]))
        .expression(Expressions::Other {
            expression_type: "nat".to_owned(),
            attributes: vec![
                DefaultNla::new(NFTA_NAT_TYPE, number(NFT_NAT_DNAT)),
                DefaultNla::new(NFTA_NAT_FAMILY, number(family.into())),
                DefaultNla::new(NFTA_NAT_REG_ADDR_MIN, register.clone()),
                DefaultNla::new(NFTA_NAT_REG_ADDR_MAX, register),
            ],
        })
    }

    /// What the batch sends: the expressions, and the comment in the form that `nft` reads back.
    pub(super) fn into_parts(self) -> (Vec<ListAttribute<ExpressionAttribute>>, Vec<u8>) {
        let mut comment = self.why.into_bytes();
        comment.truncate(120);
        comment.push(0);
        let len = u8::try_from(comment.len()).unwrap_or(u8::MAX);
        let userdata = [&[USERDATA_COMMENT, len], comment.as_slice()].concat();
        (self.expressions.into_iter().map(Into::into).collect(), userdata)
    }

    fn meta_is(self, key: MetaKey, value: Vec<u8>) -> Self {
        self.expression(Expressions::Meta(vec![Meta::DestinationRegister(Register::Reg1), Meta::Key(key)]))
            .compare(Operator::Equal, value)
    }

    fn load(self, base: u32, offset: u32, len: u32) -> Self {
        self.expression(Expressions::Payload(vec![
            Payload::DestinationRegister(Register::Reg1),
            Payload::Base(base),
            Payload::Offset(offset),
            Payload::Len(len),
        ]))
    }

    fn compare(self, op: Operator, value: Vec<u8>) -> Self {
        self.expression(Expressions::Cmp(vec![
            Cmp::SourceRegister(Register::Reg1),
            Cmp::Op(op),
            Cmp::Data(DataAttribute::Value(value)),
        ]))
    }

    fn expression(mut self, expression: Expressions) -> Self {
        self.expressions.push(expression);
        self
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

const IPPROTO_TCP: u8 = 6;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
/// `IFNAMSIZ`.
const INTERFACE_NAME: usize = 16;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const TCP_DESTINATION_PORT: u32 = 2;
const NFTA_REDIR_REG_PROTO_MIN: u16 = 1;
const NFTA_REDIR_REG_PROTO_MAX: u16 = 2;
const NFTA_NAT_TYPE: u16 = 1;
const NFTA_NAT_FAMILY: u16 = 2;
const NFTA_NAT_REG_ADDR_MIN: u16 = 3;
const NFTA_NAT_REG_ADDR_MAX: u16 = 4;
const NFT_NAT_DNAT: u32 = 1;
/// `NFTNL_UDATA_RULE_COMMENT`: user data is a list of (type, length, bytes).
const USERDATA_COMMENT: u8 = 0;
