//! Whom clusters trust, how long their issuers last, and whether clocks agree.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::X509Certificate;

use super::{ANCHORS, CLOCK, Cluster, Extent, Finding, ISSUER, Joined, Severity};
use crate::control::ca::authority::CLOCK_SKEW;

/// One cluster's trust material (controlplane 4.3), without keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    pub anchors: Vec<CertificateDer<'static>>,
    /// From the issuer upwards.
    pub issuer: Vec<CertificateDer<'static>>,
    /// How many anchors cannot be read.
    pub unreadable: usize,
    /// Why `causeway control` does not start with it, as it says itself; not known without keys.
    pub refused: Option<String>,
    /// Where it was found: a folder or an address.
    pub from: String,
}

impl Trust {
    /// Reads PEM; what cannot be read is left out, and counted among anchors.
    pub fn from_pem(anchors: &str, issuer: &str, from: String) -> Self {
        let read = |text: &str| CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Vec<_>>();
        let all = read(anchors);
        let unreadable = all.iter().filter(|anchor| anchor.is_err()).count();
        let anchors = all.into_iter().filter_map(Result::ok).collect();
        let issuer = read(issuer).into_iter().filter_map(Result::ok).collect();
        Self { anchors, issuer, unreadable, refused: None, from }
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
        let of = Of { name: &cluster.name, trust, now };
        let issuer = of.issuer();
        let told = issuer.iter().any(|finding| finding.severity == Severity::Error);
        findings.extend(issuer);
        findings.extend(of.anchors());
        if !told {
            findings.extend(of.verdict());
        }
    }
}

/// What a certificate is there for, and what to do when it is no good.
#[derive(Clone, Copy)]
enum Part {
    Issuer,
    Intermediate,
    Anchor,
}

impl Part {
    fn of_issuer(place: usize) -> Self {
        if place == 0 { Self::Issuer } else { Self::Intermediate }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Issuer => "the issuer",
            Self::Intermediate => "a certificate behind the issuer",
            Self::Anchor => "a trust anchor",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Issuer => ISSUER.remedy,
            Self::Intermediate => "put the intermediate that signed the issuer behind it, or issue anew",
            Self::Anchor => {
                "give every cluster a bundle with a new anchor beside the old one, then issuers of the new one, \
                 and take the old one out last"
            }
        }
    }
}

/// One cluster's certificates at a moment.
struct Of<'a> {
    name: &'a str,
    trust: &'a Trust,
    now: SystemTime,
}

impl Of<'_> {
    fn issuer(&self) -> Vec<Finding> {
        if self.trust.issuer.is_empty() {
            return vec![self.finding(Part::Issuer, format!("the issuer of {} cannot be read", self.name))];
        }
        let chain = self.trust.issuer.iter().enumerate();
        chain.filter_map(|(place, certificate)| self.dates(Part::of_issuer(place), certificate)).collect()
    }

    fn anchors(&self) -> Vec<Finding> {
        let Trust { anchors, unreadable, .. } = self.trust;
        let anchors = anchors.iter().filter_map(|certificate| self.dates(Part::Anchor, certificate));
        let found = match (self.trust.anchors.len(), *unreadable) {
            (0, _) => Some(format!("the trust anchors of {} cannot be read", self.name)),
            (_, 0) => None,
            (_, some) => Some(format!("{some} of the trust anchors of {} cannot be read", self.name)),
        };
        let remedy = "put the bundle in place anew, whole: every certificate in PEM";
        let unreadable = found.map(|found| self.finding(Part::Anchor, found));
        anchors.chain(unreadable.map(|finding| Finding { remedy: remedy.into(), ..finding })).collect()
    }

    /// What `causeway control` says where it would not start with these; without the key, whether signatures lead from
    /// the issuer to an anchor.
    fn verdict(&self) -> Option<Finding> {
        let Trust { refused, anchors, .. } = self.trust;
        if let Some(why) = refused {
            let found =
                format!("causeway control does not start with the certificates of {}: {why}", self.name);
            let remedy =
                "mend or replace the file that is named; causeway certs create makes what is missing";
            return Some(Finding { remedy: remedy.into(), ..self.finding(Part::Issuer, found) });
        }
        let found = format!("the issuer of {} is signed by none of its trust anchors", self.name);
        (!anchors.is_empty() && !leads_to_anchor(self.trust)).then(|| self.finding(Part::Issuer, found))
    }

    fn finding(&self, part: Part, found: String) -> Finding {
        Finding { remedy: part.remedy().into(), ..ISSUER.finding(found, &self.trust.from) }
    }

    fn dates(&self, part: Part, certificate: &CertificateDer<'_>) -> Option<Finding> {
        let Self { name, now, .. } = *self;
        let what = part.name();
        let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
            return Some(self.finding(part, format!("{what} of {name} is no certificate")));
        };
        let time = |seconds: i64| UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs());
        let validity = parsed.validity();
        let (begins, ends) = (time(validity.not_before.timestamp()), time(validity.not_after.timestamp()));
        let shown = humantime::format_rfc3339_seconds;
        if ends <= now {
            return Some(self.finding(part, format!("{what} of {name} expired at {}", shown(ends))));
        }
        if let Ok(ahead) = begins.duration_since(now).map(whole)
            && !ahead.is_zero()
        {
            let found = format!(
                "{what} of {name} is valid only in {}: this clock is behind, or the one that it was made by ahead",
                humantime::format_duration(ahead)
            );
            return Some(CLOCK.finding(found, &self.trust.from));
        }
        let left = ends.duration_since(now).unwrap_or_default();
        let found = || {
            let left = Duration::from_secs(left.as_secs() / 3600 * 3600);
            format!("{what} of {name} expires in {}, at {}", humantime::format_duration(left), shown(ends))
        };
        let warning = || Finding { severity: Severity::Warning, ..self.finding(part, found()) };
        (left < SOON).then(warning)
    }
}

/// What its page says of a control plane: it goes on by an issuer that is not the one in its folder.
pub fn stale(name: &str, at: &str) -> Finding {
    let found = format!(
        "the issuer or the trust anchors that lie in the folder of {name} cannot be used: the last good ones are in \
         force, and it would not start again"
    );
    let remedy = "mend them: its log, and causeway check --certs DIR, say what is wrong";
    Finding { remedy: remedy.into(), ..ISSUER.warning(found, at) }
}

fn whole(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

/// Whether signatures lead from the issuer to an anchor. Others may lie among them.
fn leads_to_anchor(trust: &Trust) -> bool {
    let (mut others, anchors) = (parsed(&trust.issuer), parsed(&trust.anchors));
    let mut reached: Vec<_> = others.drain(..others.len().min(1)).collect();
    while let Some(certificate) = reached.pop() {
        let signs = |by: &X509Certificate<'_>| certificate.verify_signature(Some(by.public_key())).is_ok();
        if anchors.iter().any(signs) {
            return true;
        }
        reached.extend(others.extract_if(.., |other| signs(other)));
    }
    false
}

fn parsed<'a>(certificates: &'a [CertificateDer<'_>]) -> Vec<X509Certificate<'a>> {
    let parsed = certificates.iter().map(|certificate| x509_parser::parse_x509_certificate(certificate));
    parsed.filter_map(|parsed| Some(parsed.ok()?.1)).collect()
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
    Some(if off <= CLOCK_SKEW { Finding { severity: Severity::Warning, ..finding } } else { finding })
}
