//! Durations as Linkerd writes them: in the environment (contract 1.2), in annotations (controlplane 3.9) and in requests'
//! `l5d-` headers (contract 3.11).

use std::time::Duration;

/// A whole number and one unit, without sign, fraction or a blank between them. Zero needs no unit.
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    let count: u64 = digits.parse().ok()?;
    let ms_each = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" if count == 0 => 1,
        _ => return None,
    };
    count.checked_mul(ms_each).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        for (text, ms) in [
            ("0", 0),
            ("0ms", 0),
            ("0s", 0),
            ("10ms", 10),
            (" 5s ", 5_000),
            ("3m", 180_000),
            ("2h", 7_200_000),
            ("365d", 31_536_000_000),
            ("007s", 7_000),
            ("18446744073709551615ms", u64::MAX),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(ms)), "{text:?}");
        }
        for wrong in [
            "",
            " ",
            "5",
            "+5s",
            "-1s",
            "+0",
            "1.5s",
            ".5s",
            "1 s",
            "s",
            "ms",
            "1m30s",
            "5S",
            "5sec",
            "5s,",
            "0x5s",
            "٥s",
            "5µs",
            "18446744073709551616ms",
            "213503982335d",
        ] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
