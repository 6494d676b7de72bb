//! Whom clusters trust, how long their issuers last, and whether clocks agree.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{ANCHORS, CLOCK, Cluster, Extent, Finding, ISSUER, Joined};
use crate::control::ca::authority::CLOCK_SKEW;

/// One cluster's trust material (controlplane 4.3), without keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    pub anchors: Vec<CertificateDer<'static>>,
    /// From the issuer upwards.
    pub issuer: Vec<CertificateDer<'static>>,
    /// Where it was found: a folder or an address.
    pub from: String,
}

impl Trust {
    /// Reads PEM; what cannot be read is left out.
    pub fn from_pem(anchors: &str, issuer: &str, from: String) -> Self {
        let read =
            |text: &str| CertificateDer::pem_slice_iter(text.as_bytes()).filter_map(Result::ok).collect();
        Self { anchors: read(anchors), issuer: read(issuer), from }
    }

    /// Equal bundles have the same certificates, in any order (controlplane 4.4).
    fn set(&self) -> BTreeSet<&[u8]> {
        self.anchors.iter().map(|anchor| &**anchor).collect()
    }
}

/// As long as Linkerd's own check asks for.
const SOON: Duration = Duration::from_secs(60 * 24 * 3600);
/// A clock that is off by less than half of what certificates allow is no finding.
const TOLERATED: Duration = Duration::from_secs(CLOCK_SKEW.as_secs() / 2);

/// Compares the clusters that are linked, each pair once.
pub(super) fn anchors(joined: &[Joined<'_>], extent: &mut Extent, findings: &mut Vec<Finding>) {
    let mut told = BTreeSet::new();
    for Joined { source, target, .. } in joined {
        let (Some(ours), Some(theirs)) = (&source.trust, &target.trust) else {
            for unknown in [source, target].into_iter().filter(|cluster| cluster.trust.is_none()) {
                extent.missing(ANCHORS, format!("the trust anchors of {} are not known", unknown.name));
            }
            continue;
        };
        extent.compared(ANCHORS);
        let mut pair = [&source.folder, &target.folder];
        pair.sort();
        if ours.set() == theirs.set() || !told.insert(pair) {
            continue;
        }
        let common = ours.set().intersection(&theirs.set()).count();
        let found = format!(
            "{} trusts {} anchors and {} trusts {}, of which {common} are the same",
            source.name,
            ours.set().len(),
            target.name,
            theirs.set().len(),
        );
        findings.push(ANCHORS.finding(found, format!("{} and {}", ours.from, theirs.from)));
    }
}

/// Dates and chains of issuers and anchors; those of clusters that are only led to are never known.
pub(super) fn issuers(
    clusters: &[Cluster],
    now: SystemTime,
    extent: &mut Extent,
    findings: &mut Vec<Finding>,
) {
    for cluster in clusters.iter().filter(|cluster| cluster.asked) {
        let Some(trust) = &cluster.trust else {
            extent.missing(ISSUER, format!("the issuer of {} is not known", cluster.name));
            continue;
        };
        extent.compared(ISSUER);
        let mut unreadable = |what: &str| {
            let found = format!("{what} of {} cannot be read", cluster.name);
            findings.push(ISSUER.finding(found, &trust.from));
        };
        if trust.issuer.is_empty() {
            unreadable("the issuer");
        }
        if trust.anchors.is_empty() {
            unreadable("the trust anchors");
        }
        let chain = trust.issuer.iter().map(|certificate| ("the issuer", certificate));
        let anchors = trust.anchors.iter().map(|certificate| ("a trust anchor", certificate));
        let mut dated = false;
        for (what, certificate) in chain.chain(anchors) {
            if let Some(finding) = dates(what, certificate, cluster, trust, now) {
                findings.push(finding);
                dated = true;
            }
        }
        if !dated && !trust.issuer.is_empty() && !chains(trust) {
            let found = format!("the issuer of {} is signed by none of its trust anchors", cluster.name);
            findings.push(ISSUER.finding(found, &trust.from));
        }
    }
}

fn dates(
    what: &str,
    certificate: &CertificateDer<'_>,
    cluster: &Cluster,
    trust: &Trust,
    now: SystemTime,
) -> Option<Finding> {
    let name = &cluster.name;
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return Some(ISSUER.finding(format!("{what} of {name} is no certificate"), &trust.from));
    };
    let time = |seconds: i64| UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs());
    let validity = parsed.validity();
    let (begins, ends) = (time(validity.not_before.timestamp()), time(validity.not_after.timestamp()));
    let shown = humantime::format_rfc3339_seconds;
    if ends <= now {
        let found = format!("{what} of {name} expired at {}", shown(ends));
        return Some(ISSUER.finding(found, &trust.from));
    }
    if let Ok(ahead) = begins.duration_since(now).map(whole)
        && !ahead.is_zero()
    {
        let found = format!(
            "{what} of {name} is valid only in {}: this clock is behind, or the one that it was made by ahead",
            humantime::format_duration(ahead)
        );
        return Some(CLOCK.finding(found, &trust.from));
    }
    let left = ends.duration_since(now).unwrap_or_default();
    let found = || {
        let left = Duration::from_secs(left.as_secs() / 3600 * 3600);
        format!("{what} of {name} expires in {}, at {}", humantime::format_duration(left), shown(ends))
    };
    (left < SOON).then(|| ISSUER.warning(found(), &trust.from))
}

fn whole(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

/// Whether each certificate is signed by the next, and the last by an anchor.
fn chains(trust: &Trust) -> bool {
    let parse = |certificate| x509_parser::parse_x509_certificate(certificate).map(|(_, parsed)| parsed);
    let chain: Vec<_> = trust.issuer.iter().filter_map(|certificate| parse(certificate).ok()).collect();
    let anchors: Vec<_> = trust.anchors.iter().filter_map(|certificate| parse(certificate).ok()).collect();
    let signed = |by: &x509_parser::prelude::X509Certificate<'_>,
                  what: &x509_parser::prelude::X509Certificate<'_>| {
        what.verify_signature(Some(by.public_key())).is_ok()
    };
    let linked = chain.windows(2).all(|pair| signed(&pair[1], &pair[0]));
    linked && chain.last().is_some_and(|last| anchors.iter().any(|anchor| signed(anchor, last)))
}

/// What a clock elsewhere said, and when by this one: `asked` before the question, `answered` after the answer.
/// Both are cut to whole seconds there, as an HTTP date is.
pub fn clock(name: &str, said: SystemTime, asked: SystemTime, answered: SystemTime) -> Option<Finding> {
    let earliest = asked.checked_sub(Duration::from_secs(1))?;
    let (off, way) = match (earliest.duration_since(said), said.duration_since(answered)) {
        (Ok(behind), _) => (behind, "behind"),
        (_, Ok(ahead)) => (ahead, "ahead of"),
        _ => return None,
    };
    if off <= TOLERATED {
        return None;
    }
    let off_text = humantime::format_duration(whole(off));
    let found = format!("the clock of {name} is {off_text} {way} this one");
    let finding = CLOCK.finding(found, name);
    Some(if off <= CLOCK_SKEW { Finding { severity: super::Severity::Warning, ..finding } } else { finding })
}
