//! What does the proxy say about itself: metrics and logs.
//!
//! [`Metrics`] holds the families of contract 6.1 that this crate fills; the path fetches handles from it
//! and keeps them. Labels come from discovery, policy and verified identities, apart from the SNI of TLS
//! that is passed on, which is why families are bounded.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::crypto::CryptoProvider;

pub mod log;
pub mod metric;
pub mod registry;
pub mod page;
pub mod labels;
pub mod transport;
pub mod requests;
pub mod profiles;
pub mod streams;
pub mod connections;
pub mod classes;
pub mod balancers;
pub mod controllers;
pub mod authz;
pub mod errors;
pub mod process;

use process::{CertificateTimes, TrustCounts};

/// How long an idle series is kept unless configured otherwise (contract 1.3, `METRICS_RETAIN_IDLE`).
pub const RETAIN_IDLE: Duration = Duration::from_secs(600);

/// Everything that is counted.
pub struct Metrics {
    budget: registry::Budget,
    pub authz: authz::Authorizations,
    pub balancers: balancers::Balancers,
    pub inbound: classes::Classes,
    pub outbound: classes::Classes,
    pub connections: connections::Connections,
    pub controllers: controllers::Controllers,
    pub errors: errors::Errors,
    pub profiles: profiles::ProfileRoutes,
    pub requests: requests::RequestFamilies,
    pub streams: streams::Streams,
    pub transport: transport::Transports,
    process: process::Process,
    certificate: OnceLock<CertificateSource>,
    trust: OnceLock<TrustSource>,
    tls: OnceLock<Arc<CryptoProvider>>,
}

type TrustSource = Box<dyn Fn() -> TrustCounts + Send + Sync>;
type CertificateSource = Box<dyn Fn() -> CertificateTimes + Send + Sync>;

impl Metrics {
    pub fn new(retain_idle: Duration) -> Self {
        let budget = registry::Budget::new(retain_idle);
        Self {
            authz: authz::Authorizations::new(&budget),
            balancers: balancers::Balancers::default(),
            inbound: classes::Classes::new("inbound"),
            outbound: classes::Classes::new("outbound"),
            connections: connections::Connections::new(&budget),
            controllers: controllers::Controllers::default(),
            errors: errors::Errors::new(&budget),
            profiles: profiles::ProfileRoutes::new(&budget),
            requests: requests::RequestFamilies::new(&budget),
            streams: streams::Streams::new(&budget),
            transport: transport::Transports::new(&budget),
            budget,
            process: process::Process::start(),
            certificate: OnceLock::new(),
            trust: OnceLock::new(),
            tls: OnceLock::new(),
        }
    }

    /// Where the certificate's times are read at each scrape. The first source stays.
    pub fn watch_certificate(&self, source: impl Fn() -> CertificateTimes + Send + Sync + 'static) {
        let _ = self.certificate.set(Box::new(source));
    }

    /// Where the counts of trust are read at each scrape. The first source stays.
    pub fn watch_trust(&self, source: impl Fn() -> TrustCounts + Send + Sync + 'static) {
        let _ = self.trust.set(Box::new(source));
    }

    /// Which TLS the page describes. The first stays.
    pub fn describe_tls(&self, provider: Arc<CryptoProvider>) {
        let _ = self.tls.set(provider);
    }

    /// The whole page, in the order of the reference's; forgets idle series.
    pub fn render(&self) -> String {
        let mut page = page::Page::default();
        self.authz.render(&mut page);
        self.errors.render(&mut page);
        classes::Classes::render([&self.inbound, &self.outbound], &mut page);
        self.requests.render(&mut page);
        self.profiles.render(&mut page);
        self.controllers.render_requests(&mut page);
        self.transport.render(&mut page);
        self.budget.render(&mut page);
        process::render_build(&mut page);
        if let Some(provider) = self.tls.get() {
            process::render_tls(&mut page, provider);
        }
        self.controllers.render_resolutions(&mut page);
        if let Some(source) = self.certificate.get() {
            process::render_certificate(&mut page, source());
        }
        if let Some(source) = self.trust.get() {
            process::render_trust(&mut page, source());
        }
        self.controllers.render_balancers(&mut page);
        self.connections.render_inbound(&mut page);
        self.streams.render_inbound(&mut page);
        self.connections.render_outbound(&mut page);
        self.streams.render_outbound(&mut page);
        balancers::Use::ALL.iter().for_each(|used| self.balancers.render(&mut page, *used));
        self.connections.render_routes(&mut page);
        self.process.render(&mut page);
        page.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_each_family_once_and_ends_with_the_mark() {
        let metrics = Metrics::new(RETAIN_IDLE);
        metrics.watch_certificate(CertificateTimes::default);
        metrics.transport.connect_inbound();
        let text = metrics.render();
        assert!(text.ends_with("\n# EOF\n"));
        let mut families: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE ")).collect();
        let before = families.len();
        families.sort_unstable();
        families.dedup();
        assert_eq!(families.len(), before, "{text}");
        assert!(families.contains(&"# TYPE tcp_open_total counter"), "{text}");
        assert!(families.contains(&"# TYPE proxy_build_info gauge"), "{text}");
    }
}
