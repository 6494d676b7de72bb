//! What does the proxy say about itself: metrics and logs.
//!
//! [`Metrics`] holds the families of contract 6.1 that this crate fills; the path fetches handles from it
//! and keeps them. Labels come from discovery, policy and verified identities, apart from the SNI of TLS
//! that is passed on, which is why families are bounded.

use std::sync::OnceLock;
use std::time::Duration;

pub mod log;
pub mod registry;
pub mod labels;
pub mod transport;
pub mod requests;
pub mod authz;
pub mod errors;
pub mod process;

use process::CertificateTimes;

/// How long an idle series is kept unless configured otherwise (contract 1.3, `METRICS_RETAIN_IDLE`).
pub const RETAIN_IDLE: Duration = Duration::from_secs(600);

/// Everything that is counted.
pub struct Metrics {
    pub authz: authz::Authorizations,
    pub errors: errors::Errors,
    pub requests: requests::RequestFamilies,
    pub transport: transport::Transports,
    process: process::Process,
    certificate: OnceLock<CertificateSource>,
}

type CertificateSource = Box<dyn Fn() -> CertificateTimes + Send + Sync>;

impl Metrics {
    pub fn new(retain_idle: Duration) -> Self {
        Self {
            authz: authz::Authorizations::new(retain_idle),
            errors: errors::Errors::new(retain_idle),
            requests: requests::RequestFamilies::new(retain_idle),
            transport: transport::Transports::new(retain_idle),
            process: process::Process::start(),
            certificate: OnceLock::new(),
        }
    }

    /// Where the certificate's times are read at each scrape. The first source stays.
    pub fn watch_certificate(&self, source: impl Fn() -> CertificateTimes + Send + Sync + 'static) {
        let _ = self.certificate.set(Box::new(source));
    }

    /// The whole page, in the order of the reference's; forgets idle series.
    pub fn render(&self) -> String {
        let mut page = registry::Page::default();
        self.authz.render(&mut page);
        self.errors.render(&mut page);
        self.requests.render(&mut page);
        self.transport.render(&mut page);
        process::render_build(&mut page);
        if let Some(source) = self.certificate.get() {
            process::render_certificate(&mut page, source());
        }
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
