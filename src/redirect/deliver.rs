//! What brings connections for an address that nobody has to the one that serves it? The load balancer before a Service,
//! as a rule of the network namespace that all connections pass.

use std::net::IpAddr;

use super::batch::Batch;
use super::rule::{Hook, Rule};
use super::{Error, family_of};

/// Brings TCP connections for `address`, whatever their port, to `server` from now on, in place of what an earlier call
/// said of any address. Replies come back as if from `address`.
///
/// Acts on the network namespace of the *calling thread* and needs `CAP_NET_ADMIN` there.
///
/// # Errors
/// Says which step the kernel refused; the rules are then what they were before. Both addresses must be of one family.
pub fn deliver(address: IpAddr, server: IpAddr) -> Result<(), Error> {
    let mut batch = Batch::new(TABLE);
    let family = family_of(address);
    batch.delete_table(family);
    batch.add_table(family);
    batch.add_chain(family, CHAIN, Hook::PreRouting);
    batch.add_rule(family, CHAIN, Rule::new("to what serves it").tcp().destination(address).deliver(server));
    batch.commit()
}

const TABLE: &str = "causeway-deliver";
const CHAIN: &str = "addresses";
