//! What does the process cost, and which build is it?
//!
//! Read from `/proc` at each scrape; a value that cannot be read is left out. Names, and the family lines
//! without `_total`, are those of contract 6.2.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use tokio::time::Instant;

use super::labels::Labels;
use super::page::{Decimal, Page};

/// `USER_HZ`: what Linux reports CPU time in on every architecture this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// When this process began, as far as metrics go.
#[derive(Debug)]
pub struct Process {
    started: SystemTime,
    uptime: Instant,
}

/// The times of the workload's certificate, in whole seconds since the epoch (0: there is none yet), and
/// how often it was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct CertificateTimes {
    pub expiry: u64,
    /// When the current certificate was obtained.
    pub last_refresh: u64,
    pub refreshes_ok: u64,
    pub refreshes_err: u64,
}

/// Whom is trusted, and who no longer is.
#[derive(Clone, Copy, Debug, Default)]
pub struct TrustCounts {
    /// Trust anchors in force.
    pub anchors: u64,
    /// Whether their file cannot be used, so that older ones are in force.
    pub stale: bool,
    pub reloads_ok: u64,
    pub reloads_err: u64,
    /// Peers whose connections ended because a trust anchor was removed.
    pub peers_untrusted: u64,
    /// Peers whose connections ended because their certificate did.
    pub peers_expired: u64,
}

impl Process {
    pub fn start() -> Self {
        Self { started: SystemTime::now(), uptime: Instant::now() }
    }

    pub fn render(&self, page: &mut Page) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        seconds(page, "process_start_time_seconds", "When the process started.", started);
        seconds(page, "process_clock_time_seconds", "The process's clock.", now.as_secs() as f64);
        let uptime = self.uptime.elapsed().as_secs_f64();
        total(page, "process_uptime_seconds", "seconds", "How long the process has run.", uptime);
        if let Some(cpu) = cpu_seconds() {
            total(page, "process_cpu_seconds", "seconds", "CPU time, user and system.", cpu);
        }
        memory_and_threads(page);
        descriptors(page);
        network(page);
    }
}

/// The gauge that names the build.
pub fn render_build(page: &mut Page) {
    page.family("proxy_build_info", "gauge", "The build of the proxy.");
    let labels = Labels::new()
        .with("date", option_env!("CAUSEWAY_BUILD_DATE").unwrap_or_default())
        .with("git_sha", option_env!("CAUSEWAY_GIT_SHA").unwrap_or_default())
        .with("profile", if cfg!(debug_assertions) { "debug" } else { "release" })
        .with("vendor", option_env!("CAUSEWAY_VENDOR").unwrap_or_default())
        .with("version", env!("CARGO_PKG_VERSION"));
    page.sample("proxy_build_info", labels.as_str(), 1);
}

/// The gauge that names the TLS provider, in the reference's words.
pub fn render_tls(page: &mut Page, provider: &CryptoProvider) {
    page.family("rustls_info", "gauge", "The TLS provider and what it speaks.");
    let suites = provider.cipher_suites.iter().map(|suite| format!("{:?},", suite.suite()));
    let groups = provider.kx_groups.iter().map(|group| format!("{:?},", group.name()));
    let labels = Labels::new()
        .with("tls_suites", suites.collect::<String>())
        .with("tls_kx_groups", groups.collect::<String>())
        .with("tls_rand", format_args!("{:?}", provider.secure_random))
        .with("tls_key_provider", format_args!("{:?}", provider.key_provider))
        .with("tls_fips", provider.fips());
    page.sample("rustls_info", labels.as_str(), 1);
}

pub fn render_certificate(page: &mut Page, times: CertificateTimes) {
    let name = "control_identity_cert_expiration_timestamp_seconds";
    seconds(page, name, "When the current certificate expires.", times.expiry as f64);
    let name = "control_identity_cert_refresh_timestamp_seconds";
    seconds(page, name, "When the current certificate was obtained.", times.last_refresh as f64);
    page.family("control_identity_cert_refreshes", "counter", "Certificates asked for.");
    for (result, count) in [("ok", times.refreshes_ok), ("error", times.refreshes_err)] {
        let labels = Labels::new().with("result", result);
        page.sample("control_identity_cert_refreshes_total", labels.as_str(), count);
    }
}

/// Families of our own.
pub fn render_trust(page: &mut Page, counts: TrustCounts) {
    gauge(page, "causeway_trust_anchors", "Trust anchors in force.", Some(counts.anchors));
    let help = "Whether the file of trust anchors cannot be used, so that older ones are in force.";
    gauge(page, "causeway_trust_anchors_stale", help, Some(counts.stale.into()));
    let by = |page: &mut Page, name: &str, help, label, counts: [(&str, u64); 2]| {
        page.family(name, "counter", help);
        for (value, count) in counts {
            page.sample(name, Labels::new().with(label, value).as_str(), count);
        }
    };
    let reloads = [("ok", counts.reloads_ok), ("error", counts.reloads_err)];
    by(page, "causeway_trust_reloads_total", "Changes of the file of trust anchors.", "result", reloads);
    let ended = [("untrusted", counts.peers_untrusted), ("expired", counts.peers_expired)];
    let help = "Peers whose connections were ended with their right to them.";
    by(page, "causeway_peers_ended_total", help, "why", ended);
}

fn seconds(page: &mut Page, name: &str, help: &str, value: f64) {
    page.family(name, "gauge", help);
    page.unit(name, "seconds");
    page.sample(name, "", Decimal(value));
}

fn total(page: &mut Page, name: &str, unit: &str, help: &str, value: f64) {
    page.family(name, "counter", help);
    page.unit(name, unit);
    page.sample(&format!("{name}_total"), "", Decimal(value));
}

fn gauge(page: &mut Page, name: &str, help: &str, value: Option<u64>) {
    if let Some(value) = value {
        page.family(name, "gauge", help);
        if name.ends_with("_bytes") {
            page.unit(name, "bytes");
        }
        page.sample(name, "", value);
    }
}

/// Fields 14 and 15 of `/proc/self/stat`, counted after the name, which may hold anything.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut after_name = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: f64 = after_name.next()?.parse().ok()?;
    let system: f64 = after_name.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn memory_and_threads(page: &mut Page) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |key| field(&status, key).map(|kib| kib * 1024);
    gauge(page, "process_virtual_memory_bytes", "Virtual memory.", bytes("VmSize:"));
    gauge(page, "process_resident_memory_bytes", "Resident memory.", bytes("VmRSS:"));
    gauge(page, "process_threads", "Threads.", field(&status, "Threads:"));
}

fn descriptors(page: &mut Page) {
    // The folder's own descriptor is among those listed.
    let open = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1) as u64);
    gauge(page, "process_open_fds", "Open file descriptors.", open);
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    gauge(page, "process_max_fds", "How many descriptors may be open.", field(&limits, "Max open files"));
}

/// Over all interfaces of the network namespace.
fn network(page: &mut Page) {
    let Ok(devices) = fs::read_to_string("/proc/self/net/dev") else { return };
    let counts = devices.lines().filter_map(|line| {
        let counts: Vec<u64> =
            line.split_once(':')?.1.split_ascii_whitespace().map_while(|n| n.parse().ok()).collect();
        Some((*counts.first()?, *counts.get(8)?))
    });
    let (received, sent) = counts.fold((0, 0), |(r, s): (u64, u64), (dr, ds)| (r + dr, s + ds));
    let name = "process_network_receive_bytes";
    total(page, name, "bytes", "Bytes received by this network namespace.", received as f64);
    let name = "process_network_transmit_bytes";
    total(page, name, "bytes", "Bytes sent by this network namespace.", sent as f64);
}

/// The first number after `key` at the start of a line.
fn field(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, name: &str) -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name} not in\n{text}")).parse().unwrap()
    }

    #[test]
    fn a_running_process_has_sensible_numbers() {
        let mut page = Page::default();
        Process::start().render(&mut page);
        let text = page.finish();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((value(&text, "process_start_time_seconds") - now).abs() < 60.0);
        assert!(value(&text, "process_uptime_seconds_total") < 60.0);
        assert!(value(&text, "process_cpu_seconds_total") < 3600.0);
        let (resident, virtual_memory) =
            (value(&text, "process_resident_memory_bytes"), value(&text, "process_virtual_memory_bytes"));
        assert!(resident > 1e6 && resident < virtual_memory, "{resident} {virtual_memory}");
        assert!(value(&text, "process_threads") >= 2.0);
        assert!((3.0..=value(&text, "process_max_fds")).contains(&value(&text, "process_open_fds")));
        assert!(value(&text, "process_network_receive_bytes_total") >= 0.0);
        for line in [
            "# TYPE process_cpu_seconds counter",
            "# UNIT process_cpu_seconds seconds",
            "# UNIT process_resident_memory_bytes bytes",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
        }
    }

    #[test]
    fn certificate_times_are_zero_until_there_is_one() {
        let print = |times| {
            let mut page = Page::default();
            render_certificate(&mut page, times);
            page.finish()
        };
        let none = print(CertificateTimes::default());
        assert!(none.contains("control_identity_cert_expiration_timestamp_seconds 0.0\n"), "{none}");
        let some = print(CertificateTimes {
            expiry: 1_795_306_101,
            last_refresh: 0,
            refreshes_ok: 1,
            refreshes_err: 2,
        });
        assert!(some.contains("control_identity_cert_expiration_timestamp_seconds 1795306101.0\n"), "{some}");
        assert!(some.contains("control_identity_cert_refreshes_total{result=\"ok\"} 1\n"), "{some}");
        assert!(some.contains("control_identity_cert_refreshes_total{result=\"error\"} 2\n"), "{some}");
    }
}
