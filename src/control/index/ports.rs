//! Sets of ports as annotations spell them: numbers, ranges `a-b`, and sometimes names.

use std::fmt;

/// Ports as inclusive ranges, sorted and merged, so that equal sets are equal values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSet(Vec<(u16, u16)>);

impl PortSet {
    pub fn of(ports: &[u16]) -> Self {
        Self::from_ranges(ports.iter().map(|port| (*port, *port)).collect())
    }

    /// Reads `80,8000-8100`; `None` if any item is not a number or an ascending range.
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_named(text, |_| None)
    }

    /// As [`Self::parse`], with names looked up by `named`; a name it does not know fails the whole.
    pub fn parse_named(text: &str, named: impl Fn(&str) -> Option<u16>) -> Option<Self> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        let ranges: Option<Vec<_>> = items.map(|item| range(item, &named)).collect();
        ranges.map(Self::from_ranges)
    }

    /// As [`Self::parse_named`], passing over items that mean nothing.
    pub fn parse_lenient(text: &str, named: impl Fn(&str) -> Option<u16>) -> Self {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        Self::from_ranges(items.filter_map(|item| range(item, &named)).collect())
    }

    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|(low, high)| (*low..=*high).contains(&port))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn from_ranges(mut ranges: Vec<(u16, u16)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
        for (low, high) in ranges {
            match merged.last_mut() {
                Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                _ => merged.push((low, high)),
            }
        }
        Self(merged)
    }
}

fn range(item: &str, named: &impl Fn(&str) -> Option<u16>) -> Option<(u16, u16)> {
    let number = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    if let Some(port) = number(item).or_else(|| named(item)) {
        return Some((port, port));
    }
    let (low, high) = item.split_once('-')?;
    let (low, high) = (number(low)?, number(high)?);
    (low <= high).then_some((low, high))
}

/// As the injector writes it: comma separated, ranges as `a-b`.
impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (low, high)) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            if low == high {
                write!(f, "{comma}{low}")?;
            } else {
                write!(f, "{comma}{low}-{high}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_names_and_numbers_are_read() {
        let set = PortSet::parse_named("80, 8000-8100,web", |name| (name == "web").then_some(9)).unwrap();
        assert!(set.contains(80) && set.contains(8050) && set.contains(9));
        assert!(!set.contains(81) && !set.contains(8101));
        assert_eq!(set.to_string(), "9,80,8000-8100");
    }

    #[test]
    fn one_bad_item_fails_a_strict_list_and_is_passed_over_by_a_lenient_one() {
        for bad in ["80,x", "9-3", "0", "70000", "80-", "-80"] {
            assert_eq!(PortSet::parse(bad), None, "{bad}");
        }
        assert_eq!(PortSet::parse_lenient("80,x,9-3", |_| None), PortSet::of(&[80]));
        assert!(PortSet::parse("").unwrap().is_empty());
    }
}
