//! Text to trees that remember where every value stood.
//!
//! A file is cut at its document markers first, so that broken syntax in one document does not hide
//! the mistakes of the next. [`parse`] is the only function that knows the YAML library.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A value with the line and column where it starts, both from 1; 0 where unknown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file; keys are unique.
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key {
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) text: String,
}

/// Why a document is not YAML, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) message: String,
}

/// Reads every document of a file, empty ones left out.
pub(super) fn documents(text: &str) -> Vec<Result<Node, Unreadable>> {
    chunks(text)
        .into_iter()
        .map(|(skipped, chunk)| match parse(chunk) {
            Ok(mut node) => {
                node.move_down(skipped);
                Ok(node)
            }
            Err(mut error) => {
                error.line += skipped;
                Err(error)
            }
        })
        .filter(|parsed| !matches!(parsed, Ok(Node { value: Value::Null, .. })))
        .collect()
}

/// One document. The limits leave room for what a large cluster prints in one `List`, and keep the
/// time of hostile text bounded: aliases are few in manifests, and depth is small.
pub(super) fn parse(text: &str) -> Result<Node, Unreadable> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: 1,
            max_events: 20_000_000,
            max_nodes: 10_000_000,
            max_total_scalar_bytes: 256 << 20,
            max_depth: 64,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_recorded_anchor_events: 100_000,
        },
        strict_booleans: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Value>>(text, options) {
        Ok(spanned) => Ok(node(spanned)),
        Err(error) => {
            let at = error.location();
            let (line, column) = at.map_or((1, 1), |at| (at.line() as u32, at.column() as u32));
            Err(Unreadable { line: line.max(1), column: column.max(1), message: reason(&error) })
        }
    }
}

/// In words of our own where the library's are about its settings.
fn reason(error: &serde_saphyr::Error) -> String {
    match error {
        serde_saphyr::Error::AliasError { error, .. } => reason(error),
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key {key:?} is given twice")
        }
        serde_saphyr::Error::DuplicateMappingKey { key: None, .. } => "a key is given twice".to_owned(),
        serde_saphyr::Error::Budget { .. } => {
            "it is larger, or nested deeper, than anything that is read".to_owned()
        }
        other => other.to_string().split(" at line ").next().unwrap_or_default().trim().to_owned(),
    }
}

/// Pieces between document markers, each with the number of lines before it. A marker is `---` or
/// `...` at the start of a line: YAML forbids that inside any scalar.
fn chunks(text: &str) -> Vec<(u32, &str)> {
    let mut chunks = Vec::new();
    let (mut start, mut skipped, mut offset) = (0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let bare = line.trim_end();
        let marker = bare == "..." || bare == "---" || line.starts_with("--- ") || line.starts_with("---\t");
        if marker && offset > start {
            push_chunk(&mut chunks, skipped, &text[start..offset]);
            (start, skipped) = (offset, number as u32);
        }
        offset += line.len();
        if bare == "..." {
            (start, skipped) = (offset, number as u32 + 1);
        }
    }
    push_chunk(&mut chunks, skipped, &text[start..]);
    chunks
}

/// Keeps a piece unless it has comments, directives and markers alone.
fn push_chunk<'t>(chunks: &mut Vec<(u32, &'t str)>, skipped: u32, chunk: &'t str) {
    let empty = |line: &str| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line.starts_with('%') || line == "---"
    };
    if !chunk.lines().all(empty) {
        chunks.push((skipped, chunk));
    }
}

impl Node {
    /// The value under `key`; an explicit null is as good as absent, as in Kubernetes.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        let found = entries.iter().find(|(k, _)| k.text == key).map(|(_, node)| node);
        found.filter(|node| node.value != Value::Null)
    }

    /// What the value is, in words; of a scalar the value itself.
    pub(super) fn what(&self) -> String {
        match &self.value {
            Value::Bool(value) => format!("the boolean {value}"),
            Value::Int(value) => format!("the number {value}"),
            Value::Float(value) => format!("the number {value:?}"),
            Value::Text(text) => format!("the text {}", quoted(text)),
            Value::Null | Value::List(_) | Value::Map(_) => self.sort().to_owned(),
        }
    }

    /// The same without the value, where that may be a secret.
    pub(super) fn sort(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// A spelling that depends on the content alone: not on order, comments, quotes or indentation.
    pub(super) fn canonical(&self) -> String {
        let mut text = String::new();
        self.write_canonical(&mut text);
        text
    }

    fn write_canonical(&self, out: &mut String) {
        match &self.value {
            Value::Null => out.push('~'),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Int(value) => out.push_str(&value.to_string()),
            Value::Float(value) => out.push_str(&format!("{value:?}")),
            Value::Text(text) => out.push_str(&format!("{text:?}")),
            Value::List(items) => {
                out.push('[');
                for item in items {
                    item.write_canonical(out);
                    out.push(',');
                }
                out.push(']');
            }
            Value::Map(entries) => {
                let mut sorted: Vec<_> = entries.iter().collect();
                sorted.sort_by(|a, b| a.0.text.cmp(&b.0.text));
                out.push('{');
                for (key, value) in sorted {
                    out.push_str(&format!("{:?}:", key.text));
                    value.write_canonical(out);
                    out.push(',');
                }
                out.push('}');
            }
        }
    }

    fn move_down(&mut self, lines: u32) {
        self.line += lines;
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.move_down(lines)),
            Value::Map(entries) => entries.iter_mut().for_each(|(key, value)| {
                key.line += lines;
                value.move_down(lines);
            }),
            _ => {}
        }
    }
}

/// No more of a text than fits beside what was expected instead.
fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

fn node(spanned: Spanned<Value>) -> Node {
    let at = spanned.referenced;
    Node { line: at.line() as u32, column: at.column() as u32, value: spanned.value }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Spanned<Value>>()? {
            items.push(node(item));
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        while let Some(key) = map.next_key::<Spanned<Value>>()? {
            let key = node(key);
            let Value::Text(text) = key.value else {
                return Err(A::Error::custom("a key that is not text"));
            };
            let value = node(map.next_value::<Spanned<Value>>()?);
            entries.push((Key { line: key.line, column: key.column, text }, value));
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Node {
        let mut all = documents(text);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0).unwrap()
    }

    #[test]
    fn every_value_knows_its_line_and_column() {
        let tree = one("a: 1\nb:\n  - c: yes\n  - 'x'\n");
        assert_eq!((tree.get("a").unwrap().line, tree.get("a").unwrap().column), (1, 4));
        let Value::List(items) = &tree.get("b").unwrap().value else { panic!("a list") };
        assert_eq!((items[1].line, items[1].column), (4, 5));
        assert_eq!(items[0].get("c").unwrap().value, Value::Text("yes".into()));
    }

    #[test]
    fn scalars_keep_their_types() {
        let tree = one("{i: 8080, s: '8080', b: true, f: 1.5, n: null, v: v0.0.6, e: }");
        assert_eq!(tree.get("i").unwrap().value, Value::Int(8080));
        assert_eq!(tree.get("s").unwrap().value, Value::Text("8080".into()));
        assert_eq!(tree.get("b").unwrap().value, Value::Bool(true));
        assert_eq!(tree.get("f").unwrap().value, Value::Float(1.5));
        assert_eq!(tree.get("v").unwrap().value, Value::Text("v0.0.6".into()));
        assert!(tree.get("n").is_none() && tree.get("e").is_none() && tree.get("zz").is_none());
    }

    #[test]
    fn one_broken_document_does_not_hide_the_next() {
        let all = documents("---\na: 1\n---\nb: [\n---\nc: 3\n...\n# end\n");
        assert_eq!(all.len(), 3);
        assert!(all[0].is_ok());
        assert!((3..=5).contains(&all[1].as_ref().unwrap_err().line), "{all:?}");
        assert_eq!(all[2].as_ref().unwrap().get("c").unwrap().line, 6);
    }

    #[test]
    fn markers_in_block_text_are_text_only_when_indented() {
        let tree = one("a: |\n  x\n  ---\n  y\n");
        assert_eq!(tree.get("a").unwrap().value, Value::Text("x\n---\ny\n".into()));
    }

    #[test]
    fn a_key_given_twice_is_refused() {
        let all = documents("a: 1\na: 2\n");
        assert!(all[0].is_err(), "{all:?}");
    }

    #[test]
    fn deep_nesting_ends_in_an_error() {
        let text = "[".repeat(10_000);
        assert!(documents(&text)[0].is_err());
    }

    #[test]
    fn canonical_text_ignores_order_and_style() {
        assert_eq!(one("a: 1\nb: [x]\n").canonical(), one("b:\n- \"x\"\n# c\na: 1\n").canonical());
        assert_ne!(one("a: 1").canonical(), one("a: '1'").canonical());
    }
}
