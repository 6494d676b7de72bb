//! When endpoints of one cluster die together, is the rest of it to be believed?
//!
//! Only endpoints with requests in flight are heard to die. Where most of those that gave a sign died, the others of
//! their cluster are asked before they are sent more.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::model::Endpoint;

/// What tells clusters apart. The controller names the cluster of a mirror through a gateway alone (controlplane 2.5);
/// pods of clusters on one flat network have networks of their own, as a rule a /16 or a /64 at least. Should two
/// clusters share one, some are asked in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Cluster<'a> {
    Named(&'a str),
    Net4([u8; 2]),
    Net6([u16; 4]),
}

impl<'a> Cluster<'a> {
    pub(super) fn of(endpoint: &'a Endpoint) -> Self {
        if let Some(name) = endpoint.labels.get("target_cluster") {
            return Self::Named(name);
        }
        match endpoint.addr.ip().to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, ..] = ip.octets();
                Self::Net4([a, b])
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                Self::Net6([a, b, c, d])
            }
        }
    }
}

/// What an endpoint showed last.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sign {
    /// It died so long ago, and has not answered since.
    Died(Duration),
    /// It answered a request so long ago.
    Answered(Duration),
}

/// The clusters of which more died than answered, and two at least.
pub(super) fn in_doubt<'a>(signs: impl Iterator<Item = (Cluster<'a>, Sign)>) -> HashSet<Cluster<'a>> {
    let mut lately: HashMap<Cluster<'_>, [usize; 2]> = HashMap::new();
    for (cluster, sign) in signs {
        let [dead, alive] = lately.entry(cluster).or_default();
        match sign {
            Sign::Died(ago) if ago < TOGETHER => *dead += 1,
            Sign::Answered(ago) if ago < LATELY => *alive += 1,
            _ => {}
        }
    }
    let dying = lately.into_iter().filter(|(_, [dead, alive])| *dead > 1 && dead > alive);
    dying.map(|(cluster, _)| cluster).collect()
}

/// Deaths so far apart have one cause: silence is noticed when the next request is sent.
const TOGETHER: Duration = Duration::from_secs(2);
/// Shorter than it takes to notice a silence.
const LATELY: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(addr: &str) -> Cluster<'static> {
        Cluster::of(Box::leak(Box::new(Endpoint::plain(addr.parse().unwrap()))))
    }

    #[test]
    fn the_cluster_whose_endpoints_mostly_died_is_in_doubt() {
        let (east, west) = (cluster("10.42.0.1:80"), cluster("10.22.0.1:80"));
        assert_eq!(east, cluster("10.42.9.9:8080"));
        let (died, long_dead) = (Sign::Died(Duration::from_millis(300)), Sign::Died(Duration::from_secs(60)));
        let (lives, idle) =
            (Sign::Answered(Duration::from_millis(20)), Sign::Answered(Duration::from_secs(9)));
        let doubted = |signs: &[(Cluster<'static>, Sign)]| in_doubt(signs.iter().copied());
        let two_of_many =
            [(east, died), (east, died), (east, idle), (east, idle), (east, idle), (west, lives)];
        assert_eq!(doubted(&two_of_many), [east].into());
        assert!(doubted(&[(east, died), (east, idle), (west, lives)]).is_empty(), "one may die alone");
        assert!(doubted(&[(east, died), (east, died), (east, lives), (east, lives)]).is_empty());
        assert!(doubted(&[(east, died), (west, died)]).is_empty());
        assert!(doubted(&[(east, long_dead), (east, long_dead), (east, idle)]).is_empty());
    }

    #[test]
    fn a_gateways_mirror_is_of_the_cluster_that_it_names() {
        let mut endpoint = Endpoint::plain("[fd00:42::1]:4143".parse().unwrap());
        assert_eq!(Cluster::of(&endpoint), Cluster::Net6([0xfd00, 0x42, 0, 0]));
        endpoint.labels = std::sync::Arc::new([("target_cluster".to_owned(), "east".to_owned())].into());
        assert_eq!(Cluster::of(&endpoint), Cluster::Named("east"));
    }
}
