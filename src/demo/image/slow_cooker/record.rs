//! One request and how it ended, as a line that can be read back: what no sum of an interval tells.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// Where this variable is set to `true`, a line is printed for each request.
pub(super) const ASKED_FOR: &str = "RECORD_REQUESTS";

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// In milliseconds since 1970.
    pub sent: u64,
    /// In milliseconds, to the end of the answer or to giving up.
    pub took: u64,
    /// `None`: there was no whole answer.
    pub status: Option<u16>,
    /// Why the proxy answered in the server's place, if it did and says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The first line of the answer's body, or why there was no answer.
    pub said: String,
}

impl Record {
    /// Of a request that ends now.
    pub(super) fn of(sent: SystemTime, took: Duration, outcome: Result<&super::Answer, &str>) -> Self {
        let sent = sent.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (status, reason, said) = match outcome {
            Ok(answer) => (Some(answer.status.as_u16()), answer.reason.clone(), answer.first_line()),
            Err(why) => (None, None, why.to_owned()),
        };
        Self { sent: millis(sent), took: millis(took), status, reason, said }
    }

    /// Whether a line of output is a record's. Headings and figures are not.
    #[must_use]
    pub fn is_line(line: &str) -> bool {
        line.starts_with('{')
    }

    /// Whether the server answered, and well.
    #[must_use]
    pub fn good(&self) -> bool {
        self.status.is_some_and(|status| status < 400)
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::super::Answer;
    use super::*;

    #[test]
    fn a_record_reads_back_from_its_line() {
        let answer = Answer {
            status: StatusCode::BAD_GATEWAY,
            reason: Some("connect-failed".to_owned()),
            body: b"could not connect\nand more".to_vec(),
        };
        let sent = SystemTime::UNIX_EPOCH + Duration::from_millis(1500);
        let refused = Record::of(sent, Duration::from_millis(7), Ok(&answer));
        assert_eq!((refused.sent, refused.took, refused.status), (1500, 7, Some(502)));
        assert_eq!((refused.said.as_str(), refused.good()), ("could not connect", false));
        let silent = Record::of(sent, Duration::ZERO, Err("timed out\n\"quoted\""));
        for record in [refused, silent] {
            let line = serde_json::to_string(&record).unwrap();
            assert!(Record::is_line(&line) && !line.contains('\n'), "{line}");
            assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
        }
    }
}
