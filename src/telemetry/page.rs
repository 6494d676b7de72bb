//! How do metrics become text? In the reference's two spellings.
//!
//! The classic families (contract 6.1) are plain Prometheus text: whole milliseconds, `le` last. The
//! registry's (contract 6.2) are as OpenMetrics has them: `_total` only on the samples, a unit line, `le`
//! first, decimals always with a point.

use std::fmt::{self, Display, Write};

use super::metric::{Buckets, Counter, Histogram, LatencyMs};
use super::registry::{Family, Scraped};

/// A page of metrics being written.
#[derive(Debug, Default)]
pub struct Page(String);

/// A decimal number as the registry's families spell it: `1.0`, never `1` and never `1e-6`.
#[derive(Clone, Copy, Debug)]
pub struct Decimal(pub f64);

impl Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.fract() == 0.0 { write!(f, "{:.1}", self.0) } else { write!(f, "{}", self.0) }
    }
}

/// What a registry histogram counts, and so its unit line and how its numbers are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Counted in nanoseconds.
    Seconds,
    Bytes,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
        }
    }

    fn spelled(self, value: u64) -> Decimal {
        Decimal(match self {
            Self::Seconds => value as f64 / 1e9,
            Self::Bytes => value as f64,
        })
    }
}

impl Page {
    /// The lines that introduce a family. `kind` is `counter`, `gauge` or `histogram`.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub fn unit(&mut self, name: &str, unit: &str) {
        let _ = writeln!(self.0, "# UNIT {name} {unit}");
    }

    /// One sample; `labels` is text made by [`Labels`](super::labels::Labels), possibly empty.
    pub fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            _ => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    /// A whole classic family of counters; nothing at all while it has no series.
    pub fn counters(&mut self, name: &str, help: &str, family: &Family<Counter>) {
        let series = family.scrape();
        if series.is_empty() {
            return;
        }
        self.family(name, "counter", help);
        for (labels, counter) in series {
            self.sample(name, &labels, counter.value());
        }
    }

    /// The samples of one classic histogram: cumulative buckets, count, sum.
    pub fn latencies(&mut self, name: &str, labels: &str, histogram: &Histogram<LatencyMs>) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut total = 0;
        let bounds = LatencyMs::BOUNDS.iter().map(Some).chain([None]);
        for (bound, count) in bounds.zip(histogram.counts()) {
            total += count;
            let _ = match bound {
                Some(bound) => writeln!(self.0, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {total}"),
                None => writeln!(self.0, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {total}"),
            };
        }
        // Not read again: `+Inf` and the count must agree while others go on counting.
        self.sample(&format!("{name}_count"), labels, total);
        self.sample(&format!("{name}_sum"), labels, histogram.sum());
    }

    /// A registry family of counters. `name` is without `_total`; `samples` gives those of one series,
    /// labels whole.
    pub fn totals<M, I: IntoIterator<Item = (String, u64)>>(
        &mut self,
        name: &str,
        help: &str,
        series: &[Scraped<M>],
        samples: impl Fn(&str, &M) -> I,
    ) {
        if series.is_empty() {
            return;
        }
        self.family(name, "counter", help);
        let total = format!("{name}_total");
        for (labels, one) in series {
            for (labels, value) in samples(labels, one) {
                self.sample(&total, &labels, value);
            }
        }
    }

    /// A registry family of histograms, one in each series.
    pub fn histograms<M, B: Buckets>(
        &mut self,
        (name, unit): (&str, Unit),
        help: &str,
        series: &[Scraped<M>],
        of: impl Fn(&M) -> &Histogram<B>,
    ) {
        if series.is_empty() {
            return;
        }
        self.family(name, "histogram", help);
        self.unit(name, unit.name());
        for (labels, one) in series {
            self.histogram(name, unit, labels, of(one));
        }
    }

    fn histogram<B: Buckets>(&mut self, name: &str, unit: Unit, labels: &str, histogram: &Histogram<B>) {
        let counts: Vec<u64> = histogram.counts().collect();
        self.sample(&format!("{name}_sum"), labels, unit.spelled(histogram.sum()));
        self.sample(&format!("{name}_count"), labels, counts.iter().sum::<u64>());
        let comma = if labels.is_empty() { "" } else { "," };
        let bounds = B::BOUNDS.iter().map(|bound| Some(unit.spelled(*bound))).chain([None]);
        let mut total = 0;
        for (bound, count) in bounds.zip(counts) {
            total += count;
            let _ = match bound {
                Some(bound) => writeln!(self.0, "{name}_bucket{{le=\"{bound}\"{comma}{labels}}} {total}"),
                None => writeln!(self.0, "{name}_bucket{{le=\"+Inf\"{comma}{labels}}} {total}"),
            };
        }
    }

    /// Ends the page; nothing may follow the mark.
    pub fn finish(mut self) -> String {
        self.0.push_str("# EOF\n");
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::telemetry::metric::FrameSizes;

    #[derive(Default)]
    struct Sizes(Histogram<FrameSizes>);

    #[test]
    fn classic_histograms_have_whole_numbers_and_le_last() {
        let histogram = Histogram::default();
        for ms in [0, 1, 2, 60_000] {
            histogram.observe(ms);
        }
        let mut page = Page::default();
        page.latencies("h", "a=\"b\"", &histogram);
        let text = page.finish();
        for line in [
            r#"h_bucket{a="b",le="1"} 2"#,
            r#"h_bucket{a="b",le="2"} 3"#,
            r#"h_bucket{a="b",le="50000"} 3"#,
            r#"h_bucket{a="b",le="+Inf"} 4"#,
            r#"h_count{a="b"} 4"#,
            r#"h_sum{a="b"} 60003"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
        }
    }

    #[test]
    fn registry_histograms_have_decimals_and_le_first() {
        let sizes = Sizes::default();
        sizes.0.observe(3);
        sizes.0.observe(1025);
        let mut page = Page::default();
        let series = [(r#"a="b""#.into(), Arc::new(sizes))];
        page.histograms(("s_bytes", Unit::Bytes), "Sizes.", &series, |one: &Sizes| &one.0);
        let lines = [
            "# HELP s_bytes Sizes.",
            "# TYPE s_bytes histogram",
            "# UNIT s_bytes bytes",
            r#"s_bytes_sum{a="b"} 1028.0"#,
            r#"s_bytes_count{a="b"} 2"#,
            r#"s_bytes_bucket{le="128.0",a="b"} 1"#,
            r#"s_bytes_bucket{le="1024.0",a="b"} 1"#,
            r#"s_bytes_bucket{le="10240.0",a="b"} 2"#,
            r#"s_bytes_bucket{le="+Inf",a="b"} 2"#,
            "# EOF",
        ];
        assert_eq!(page.finish().lines().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn decimals_always_have_a_point_and_never_an_exponent() {
        for (value, text) in [(0.0, "0.0"), (3.0, "3.0"), (0.000_002_553, "0.000002553"), (1.5, "1.5")] {
            assert_eq!(Decimal(value).to_string(), text);
        }
        assert_eq!(Unit::Seconds.spelled(500_000).to_string(), "0.0005");
    }
}
