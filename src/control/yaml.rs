//! The little of YAML that is written here.

use std::fmt;

use serde_json::Value;

/// Maps keep the order they are given in.
pub enum Yaml {
    Text(String),
    /// A number, a boolean or null, as JSON spells it.
    Plain(String),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

impl Yaml {
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    pub fn number(number: u16) -> Self {
        Self::Plain(number.to_string())
    }

    pub fn map<K: ToString>(entries: impl IntoIterator<Item = (K, Self)>) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (key.to_string(), value)).collect())
    }

    /// What stands on the line where the value begins; `None` for what takes lines of its own.
    fn in_line(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(scalar(text)),
            Self::Plain(text) => Some(text.clone()),
            Self::List(items) if items.is_empty() => Some("[]".into()),
            Self::Map(entries) if entries.is_empty() => Some("{}".into()),
            Self::List(_) | Self::Map(_) => None,
        }
    }

    fn lines(&self, indent: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(entries) => {
                for (key, value) in entries {
                    write!(f, "{:indent$}", "")?;
                    value.entry(key, indent, f)?;
                }
                Ok(())
            }
            Self::List(items) => items.iter().try_for_each(|item| item.item(indent, f)),
            scalar => writeln!(f, "{:indent$}{}", "", scalar.in_line().unwrap_or_default()),
        }
    }

    fn entry(&self, key: &str, indent: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.in_line(), self) {
            (Some(value), _) => writeln!(f, "{}: {value}", scalar(key)),
            (None, list_or_map) => {
                writeln!(f, "{}:", scalar(key))?;
                let deeper = if matches!(list_or_map, Self::List(_)) { indent } else { indent + 2 };
                list_or_map.lines(deeper, f)
            }
        }
    }

    /// A map's first entry stands behind the dash.
    fn item(&self, indent: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:indent$}- ", "")?;
        let Self::Map(entries) = self else {
            return writeln!(f, "{}", self.in_line().unwrap_or_default());
        };
        for (number, (key, value)) in entries.iter().enumerate() {
            if number > 0 {
                write!(f, "{:width$}", "", width = indent + 2)?;
            }
            value.entry(key, indent + 2, f)?;
        }
        Ok(())
    }
}

impl From<&Value> for Yaml {
    fn from(value: &Value) -> Self {
        match value {
            Value::String(text) => Self::text(text),
            Value::Array(items) => Self::List(items.iter().map(Self::from).collect()),
            Value::Object(entries) => Self::map(entries.iter().map(|(key, value)| (key, value.into()))),
            Value::Null | Value::Bool(_) | Value::Number(_) => Self::Plain(value.to_string()),
        }
    }
}

impl fmt::Display for Yaml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines(0, f)
    }
}

/// Plain where nothing could read it as anything but this text, else in double quotes, as JSON has them. What JSON
/// leaves as it is and readers of YAML 1.1 refuse or fold is escaped as well: kubectl is one of them.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./@".contains(&b))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if plain {
        return text.to_owned();
    }
    let mut quoted = String::new();
    for c in Value::from(text).to_string().chars() {
        if is_printed(c) { quoted.push(c) } else { quoted.push_str(&format!("\\u{:04x}", u32::from(c))) }
    }
    quoted
}

/// Characters of YAML 1.1 but for Unicode's line breaks and its mark of a byte order. All others have four digits.
fn is_printed(c: char) -> bool {
    let printable = matches!(c, ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    printable && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_stand_under_their_key_and_empty_ones_beside_it() {
        let port = Yaml::map([("name", Yaml::text("http")), ("port", Yaml::number(80))]);
        let spec = Yaml::map([("ports", Yaml::List(vec![port])), ("none", Yaml::List(Vec::new()))]);
        let document = Yaml::map([("spec", spec), ("true", Yaml::text("true"))]);
        let expected = "spec:\n  ports:\n  - name: http\n    port: 80\n  none: []\n\"true\": \"true\"\n";
        assert_eq!(document.to_string(), expected);
    }

    #[test]
    fn what_kubectl_refuses_or_folds_is_escaped() {
        let document = Yaml::text("a\u{7f}\u{85}\u{9f}\u{2028}\u{feff}\u{fffe}\u{1b}é\u{1f600}").to_string();
        assert_eq!(document, "\"a\\u007f\\u0085\\u009f\\u2028\\ufeff\\ufffe\\u001bé\u{1f600}\"\n");
    }

    #[test]
    fn json_is_read_back_as_it_was() {
        let json = serde_json::json!({ "a": [{ "b": 1, "c": null }, true, [], "1"], "d": { "e": {} } });
        let read: Value = serde_saphyr::from_str(&Yaml::from(&json).to_string()).unwrap();
        assert_eq!(read, json);
    }

    proptest! {
        #[test]
        fn any_text_is_read_back_as_it_was(key in "(?s).{1,12}", value in "(?s)(.|[\\x00-\\x1f\\x7f-\u{a0}\u{2028}\u{2029}\u{fdd0}-\u{fdef}\u{feff}\u{fff0}-\u{ffff}]){0,20}") {
            let document = Yaml::map([(&key, Yaml::text(&value))]).to_string();
            // What YAML 1.1 says may stand in a document, without its other line breaks.
            let foreign = |c: &char| !matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
            let folded = |c: &char| ['\u{2028}', '\u{2029}', '\u{feff}'].contains(c);
            prop_assert_eq!(document.chars().find(|c| foreign(c) || folded(c)), None);
            prop_assert_eq!(document.matches('\n').count(), 1);
            let read: std::collections::BTreeMap<String, String> = serde_saphyr::from_str(&document).unwrap();
            prop_assert_eq!(read.get(&key), Some(&value), "{}", document);
        }
    }
}
