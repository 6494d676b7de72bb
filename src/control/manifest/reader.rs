//! Typed reading of a tree, with every mistake noted and none fatal to the rest.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::labelled::Labels;
use super::yaml::{Key, Node, Value};
use super::{Note, Place, Problem};

const TEXT_FORM: &str = "text (put it in quotes if it looks like a number or a boolean)";

/// Reads the fields of one document and gathers what is wrong with them.
#[derive(Debug)]
pub(super) struct Reader {
    file: Arc<Path>,
    pub(super) problems: Vec<Problem>,
    pub(super) notes: Vec<Note>,
    /// Fields that there are not.
    pub(super) unknown: Vec<Problem>,
}

impl Reader {
    pub(super) fn new(file: Arc<Path>) -> Self {
        Self { file, problems: Vec::new(), notes: Vec::new(), unknown: Vec::new() }
    }

    pub(super) fn file(&self) -> Arc<Path> {
        self.file.clone()
    }

    pub(super) fn place(&self, node: &Node) -> Place {
        Place { file: self.file.clone(), line: node.line.max(1), column: node.column.max(1) }
    }

    pub(super) fn place_of(&self, key: &Key) -> Place {
        Place { file: self.file.clone(), line: key.line.max(1), column: key.column.max(1) }
    }

    pub(super) fn problem(&mut self, node: &Node, message: impl Into<String>, expected: impl Into<String>) {
        let at = self.place(node);
        self.problems.push(Problem { at, message: message.into(), expected: expected.into() });
    }

    pub(super) fn note(&mut self, node: &Node, message: impl Into<String>) {
        let at = self.place(node);
        self.notes.push(Note { at, message: message.into() });
    }

    /// Refuses every other key, where passing over one would change what the mapping says.
    pub(super) fn only(&mut self, node: &Node, known: [&str; 2]) {
        let Value::Map(entries) = &node.value else { return };
        for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&key.text.as_str())) {
            let at = self.place_of(key);
            let message = format!("there is no {:?} here", key.text);
            self.problems.push(Problem {
                at,
                message,
                expected: known.map(|key| format!("`{key}`")).join(" or "),
            });
        }
    }

    /// The field, or a problem at its parent.
    pub(super) fn required<'n>(&mut self, parent: &'n Node, key: &str) -> Option<&'n Node> {
        let found = parent.get(key);
        if found.is_none() {
            self.problem(parent, format!("the field `{key}` is missing"), format!("`{key}: …` here"));
        }
        found
    }

    /// A mapping under `key`; absent is `None`, another type is a problem.
    pub(super) fn mapping<'n>(&mut self, parent: &'n Node, key: &str) -> Option<&'n Node> {
        let node = parent.get(key)?;
        match node.value {
            Value::Map(_) => Some(node),
            _ => self.wrong_sort(node, key, "a mapping"),
        }
    }

    pub(super) fn required_mapping<'n>(&mut self, parent: &'n Node, key: &str) -> Option<&'n Node> {
        self.required(parent, key)?;
        self.mapping(parent, key)
    }

    /// A list under `key`; absent is empty.
    pub(super) fn list<'n>(&mut self, parent: &'n Node, key: &str) -> &'n [Node] {
        match parent.get(key) {
            None => &[],
            Some(Node { value: Value::List(items), .. }) => items,
            Some(node) => {
                self.wrong_sort::<()>(node, key, "a list");
                &[]
            }
        }
    }

    /// A list of mappings; items of other types are problems and left out.
    pub(super) fn mappings<'n>(&mut self, parent: &'n Node, key: &str) -> Vec<&'n Node> {
        let items = self.list(parent, key);
        items.iter().filter(|item| self.is_mapping(item, key)).collect()
    }

    pub(super) fn is_mapping(&mut self, node: &Node, key: &str) -> bool {
        let is = matches!(node.value, Value::Map(_));
        if !is {
            self.wrong_sort::<()>(node, key, "a mapping");
        }
        is
    }

    pub(super) fn text(&mut self, parent: &Node, key: &str) -> Option<String> {
        let node = parent.get(key)?;
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            _ => self.wrong(node, key, TEXT_FORM),
        }
    }

    /// The same of what may be a secret: no problem shows the value.
    pub(super) fn secret_text(&mut self, parent: &Node, key: &str) -> Option<String> {
        let node = parent.get(key)?;
        if let Value::Text(text) = &node.value {
            return Some(text.clone());
        }
        self.wrong_sort(node, key, TEXT_FORM)
    }

    /// Text that must be there and not be empty.
    pub(super) fn required_text(&mut self, parent: &Node, key: &str) -> Option<String> {
        let node = self.required(parent, key)?;
        let text = self.text(parent, key)?;
        if text.is_empty() {
            self.problem(node, format!("`{key}` is empty"), "text of at least one character");
            return None;
        }
        Some(text)
    }

    pub(super) fn flag(&mut self, parent: &Node, key: &str) -> Option<bool> {
        let node = parent.get(key)?;
        match node.value {
            Value::Bool(value) => Some(value),
            _ => self.wrong(node, key, "true or false"),
        }
    }

    /// A whole number within `range`.
    pub(super) fn number(
        &mut self,
        parent: &Node,
        key: &str,
        range: std::ops::RangeInclusive<i128>,
    ) -> Option<i128> {
        let node = parent.get(key)?;
        let expected = format!("a number from {} to {}", range.start(), range.end());
        match node.value {
            Value::Int(value) if range.contains(&value) => Some(value),
            Value::Int(value) => {
                self.problem(node, format!("`{key}` is {value}"), expected);
                None
            }
            _ => self.wrong(node, key, &expected),
        }
    }

    pub(super) fn port(&mut self, parent: &Node, key: &str) -> Option<u16> {
        self.number(parent, key, 1..=65535).map(|port| port as u16)
    }

    /// Texts of a list.
    pub(super) fn texts(&mut self, parent: &Node, key: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for item in self.list(parent, key) {
            match &item.value {
                Value::Text(text) => texts.push(text.clone()),
                _ => {
                    self.wrong_sort::<()>(item, key, "text (put it in quotes)");
                }
            }
        }
        texts
    }

    /// A mapping of text to text, such as labels.
    pub(super) fn text_map(&mut self, parent: &Node, key: &str) -> Labels {
        let Some(Node { value: Value::Map(entries), .. }) = self.mapping(parent, key) else {
            return Labels::default();
        };
        let pairs = entries.iter().filter_map(|(name, node)| match &node.value {
            Value::Text(text) => Some((name.text.clone(), text.clone())),
            Value::Null => Some((name.text.clone(), String::new())),
            _ => self.wrong(node, &name.text, "text (put it in quotes)"),
        });
        pairs.collect()
    }

    /// An IP address; absent or empty is `None`.
    pub(super) fn address(&mut self, parent: &Node, key: &str) -> Option<IpAddr> {
        let text = self.text(parent, key).filter(|text| !text.is_empty())?;
        self.parse_address(parent.get(key).unwrap_or(parent), &text)
    }

    /// IP addresses of a list; `None` among them, as headless Services have it, is passed over.
    pub(super) fn addresses(&mut self, parent: &Node, key: &str) -> Vec<IpAddr> {
        let texts = self.texts(parent, key).into_iter().filter(|text| text != "None");
        let at = parent.get(key).unwrap_or(parent);
        texts.collect::<Vec<_>>().iter().filter_map(|text| self.parse_address(at, text)).collect()
    }

    fn parse_address(&mut self, at: &Node, text: &str) -> Option<IpAddr> {
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.problem(at, format!("{text:?} is no address"), "an IP address");
        }
        parsed
    }

    /// A duration as Go spells them; empty is absent.
    pub(super) fn go_duration(&mut self, parent: &Node, key: &str) -> Option<Duration> {
        let text = self.text(parent, key).filter(|text| !text.is_empty())?;
        let duration = super::gateway::duration(&text);
        if duration.is_none() {
            let at = parent.get(key).unwrap_or(parent);
            self.problem(at, format!("`{key}` is {text:?}"), super::gateway::DURATION_FORM);
        }
        duration
    }

    /// Whether the status has the condition; `None` where it does not say.
    pub(super) fn condition(&mut self, object: &Node, kind: &str) -> Option<bool> {
        let status = self.mapping(object, "status")?;
        let mut holds = None;
        for condition in self.mappings(status, "conditions") {
            if self.text(condition, "type").as_deref() == Some(kind) {
                holds = self.text(condition, "status").map(|status| status == "True");
            }
        }
        holds
    }

    /// The same without the value, where somebody may have written a secret: in place of a list or a mapping, of which
    /// the value says nothing, or among what a container is started with.
    fn wrong_sort<T>(&mut self, node: &Node, key: &str, expected: &str) -> Option<T> {
        self.problem(node, format!("`{key}` is {}", node.sort()), expected);
        None
    }

    pub(super) fn wrong<T>(&mut self, node: &Node, key: &str, expected: &str) -> Option<T> {
        self.problem(node, format!("`{key}` is {}", node.what()), expected);
        None
    }
}
