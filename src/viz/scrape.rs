//! What does a page of Prometheus text say?

/// One line of a page.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: Labels,
    pub value: f64,
}

/// Labels by name, sorted, so that equal sets compare equal however they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels(Vec<(String, String)>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the scrape: expected {expected}")]
pub struct ScrapeError {
    /// Counted from 1.
    pub line: usize,
    pub expected: &'static str,
}

impl Labels {
    /// The label's value, empty when there is none, as queries see it.
    pub fn get(&self, name: &str) -> &str {
        let found = self.0.binary_search_by(|(known, _)| known.as_str().cmp(name));
        found.map_or("", |at| &self.0[at].1)
    }
}

/// All samples of a page, in its order. Comments are skipped, a line that cannot be read refuses the page.
pub fn parse(text: &str) -> Result<Vec<Sample>, ScrapeError> {
    let mut samples = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            let sample = sample(line).map_err(|expected| ScrapeError { line: index + 1, expected })?;
            samples.push(sample);
        }
    }
    Ok(samples)
}

fn sample(line: &str) -> Result<Sample, &'static str> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let (name, rest) = line.split_at(line.find(|c| !legal(c)).unwrap_or(line.len()));
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("a metric name");
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Labels::default(), rest),
    };
    // A timestamp may follow the value.
    let value = rest.split_ascii_whitespace().next().ok_or("a value after the labels")?;
    // The names of infinity and of what is no number are those that `f64` reads.
    let value = value.parse().map_err(|_| "a number as value")?;
    Ok(Sample { name: name.to_string(), labels, value })
}

/// Reads up to the closing brace; returns what follows it.
fn labels(mut rest: &str) -> Result<(Labels, &str), &'static str> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            labels.sort();
            return Ok((Labels(labels), after));
        }
        let (name, after) = rest.split_once('=').ok_or("'=' after a label name")?;
        let quoted = after.trim_start().strip_prefix('"').ok_or("a quoted label value")?;
        let (value, after) = unquoted(quoted)?;
        labels.push((name.trim().to_string(), value));
        rest = after.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(after) => after,
            None if rest.starts_with('}') => rest,
            None => return Err("',' or '}' after a label"),
        };
    }
}

fn unquoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, c @ ('\\' | '"'))) => value.push(c),
                _ => return Err("one of \\\\, \\\" and \\n in a label value"),
            },
            c => value.push(c),
        }
    }
    Err("a closing quote")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::labels::Labels as Text;

    #[test]
    fn samples_are_read_with_labels_in_any_order() {
        let page = "# HELP x y\n# TYPE x counter\nx_total{b=\"2\",a=\"1\"} 3\n\nup 1.5 1395066363000\nq{le=\"+Inf\",} +Inf\n# EOF\n";
        let samples = parse(page).unwrap();
        let values: Vec<_> = samples.iter().map(|s| (s.name.as_str(), s.value)).collect();
        assert_eq!(values, [("x_total", 3.0), ("up", 1.5), ("q", f64::INFINITY)]);
        assert_eq!(samples[0].labels, parse("x{a=\"1\",b=\"2\"} 0").unwrap()[0].labels);
        assert_eq!((samples[0].labels.get("a"), samples[0].labels.get("c")), ("1", ""));
        assert_eq!(samples[2].labels.get("le"), "+Inf");
        assert!(parse("x NaN").unwrap()[0].value.is_nan());
    }

    #[test]
    fn what_the_proxy_escapes_reads_as_it_was() {
        let odd = "quote \" slash \\ n \\n, brace } and\nline";
        let labels = Text::new().with("a", odd).with("b", "");
        let samples = parse(&format!("x{{{}}} 1", labels.as_str())).unwrap();
        assert_eq!(samples[0].labels.get("a"), odd);
    }

    #[test]
    fn a_whole_page_of_the_proxy_is_readable() {
        let metrics = crate::telemetry::Metrics::new(crate::telemetry::RETAIN_IDLE);
        metrics.transport.connect_inbound().open();
        let samples = parse(&metrics.render()).unwrap();
        let open = samples.iter().find(|sample| sample.name == "tcp_open_total").unwrap();
        assert_eq!((open.labels.get("peer"), open.value), ("dst", 1.0));
    }

    #[test]
    fn unreadable_lines_are_refused_with_their_number() {
        for bad in [
            "{a=\"1\"} 1",
            "9x 1",
            "x",
            "x one",
            "x{a=1} 1",
            "x{a=\"1} 1",
            "x{a=\"1\"b=\"2\"} 1",
            "x{a} 1",
            "x{a=\"\\q\"} 1",
        ] {
            let error = parse(&format!("# ok\n{bad}")).unwrap_err();
            assert_eq!(error.line, 2, "{bad}");
        }
    }
}
