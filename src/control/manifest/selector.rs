//! Label selectors.

use super::labelled::Labels;
use super::reader::Reader;
use super::yaml::Node;
use super::{document, names};

/// `matchLabels` and `matchExpressions`; all terms must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    pub labels: Labels,
    pub expressions: Vec<Expression>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    pub key: String,
    pub operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

impl Selector {
    /// One label that must have this value.
    pub fn label(key: &str, value: &str) -> Self {
        Self { labels: Labels::from([(key.to_owned(), value.to_owned())]), expressions: Vec::new() }
    }

    /// Without terms it selects everything; a Link's selectors mean nothing by that
    /// (controlplane 1.1): [`Selector::chooses`].
    pub fn matches(&self, labels: &Labels) -> bool {
        self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.expressions.iter().all(|expression| expression.matches(labels))
    }

    /// As a Link's selectors do: without terms, nothing.
    pub fn chooses(&self, labels: &Labels) -> bool {
        !self.is_empty() && self.matches(labels)
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.expressions.is_empty()
    }
}

impl Expression {
    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

/// A term that is misspelled must not be passed over: the selector would take what it keeps out.
pub(super) fn read(reader: &mut Reader, node: &Node) -> Selector {
    reader.only(node, ["matchLabels", "matchExpressions"]);
    let mut selector =
        Selector { labels: document::read_labels(reader, node, "matchLabels"), expressions: Vec::new() };
    for term in reader.mappings(node, "matchExpressions") {
        let (key, operator) = (reader.required_text(term, "key"), reader.required_text(term, "operator"));
        let values = reader.texts(term, "values");
        let (Some(key), Some(operator)) = (key, operator) else { continue };
        check_term(reader, term, &key, &values);
        let operator = match (operator.as_str(), values.is_empty()) {
            ("In", false) => Operator::In(values),
            ("NotIn", false) => Operator::NotIn(values),
            ("Exists", true) => Operator::Exists,
            ("DoesNotExist", true) => Operator::DoesNotExist,
            (other, _) => {
                let expected = "In or NotIn with values, or Exists or DoesNotExist without";
                reader.problem(term, format!("the operator {other:?} does not fit its values"), expected);
                continue;
            }
        };
        selector.expressions.push(Expression { key, operator });
    }
    selector
}

/// As on command lines: `a=b,c!=d,e in (f,g),h notin (i),j,!k`. `None` if it is not of that form.
pub fn parse(text: &str) -> Option<Selector> {
    let mut selector = Selector::default();
    let mut depth = 0;
    let comma = |c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    };
    for term in text.split(comma).map(str::trim).filter(|term| !term.is_empty()) {
        let (key, operator) = parse_term(term)?;
        if !names::is_qualified_key(key) {
            return None;
        }
        selector.expressions.push(Expression { key: key.into(), operator });
    }
    Some(selector)
}

fn parse_term(term: &str) -> Option<(&str, Operator)> {
    let values = |text: &str| {
        let values: Vec<String> = text.split(',').map(|value| value.trim().to_owned()).collect();
        values.iter().all(|value| names::is_label_value(value)).then_some(values)
    };
    if let Some(key) = term.strip_prefix('!') {
        return Some((key.trim(), Operator::DoesNotExist));
    }
    if let Some((head, list)) = term.strip_suffix(')').and_then(|term| term.split_once('(')) {
        let (key, word) = head.trim().rsplit_once(' ')?;
        let values = values(list)?;
        return match word {
            "in" => Some((key.trim(), Operator::In(values))),
            "notin" => Some((key.trim(), Operator::NotIn(values))),
            _ => None,
        };
    }
    if let Some((key, value)) = term.split_once("!=") {
        return Some((key.trim(), Operator::NotIn(values(value)?)));
    }
    match term.split_once("==").or_else(|| term.split_once('=')) {
        Some((key, value)) => Some((key.trim(), Operator::In(values(value)?))),
        None => Some((term, Operator::Exists)),
    }
}

fn check_term(reader: &mut Reader, term: &Node, key: &str, values: &[String]) {
    if !names::is_qualified_key(key) {
        let at = term.get("key").unwrap_or(term);
        reader.problem(at, format!("{key:?} is no key for a label"), names::KEY_FORM);
    }
    for value in values.iter().filter(|value| !names::is_label_value(value)) {
        let at = term.get("values").unwrap_or(term);
        reader.problem(at, format!("{value:?} is no value for the label {key}"), names::VALUE_FORM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_terms_must_hold() {
        let labels = Labels::from([("app".to_owned(), "bb".to_owned())]);
        let with = |operator| Selector {
            labels: labels.clone(),
            expressions: vec![Expression { key: "tier".into(), operator }],
        };
        assert!(Selector::default().matches(&labels) && Selector::default().is_empty());
        assert!(with(Operator::DoesNotExist).matches(&labels));
        assert!(with(Operator::NotIn(vec!["x".into()])).matches(&labels));
        assert!(!with(Operator::Exists).matches(&labels));
        assert!(!with(Operator::In(vec!["x".into()])).matches(&labels));
    }

    #[test]
    fn the_form_of_command_lines_is_read() {
        let selector = parse("a=b, c != d,e in (f, g),h notin (i),j,!k, l.io/m==").unwrap();
        let labels = |text: &str| {
            text.split(',').filter_map(|l| l.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect()
        };
        assert!(selector.matches(&labels("a=b,e=g,j=,l.io/m=")));
        for but in ["a=x,e=g,j=,l.io/m=", "a=b,c=d,e=g,j=,l.io/m=", "a=b,e=x,j=,l.io/m=", "a=b,e=f,l.io/m="] {
            assert!(!selector.matches(&labels(but)), "{but}");
        }
        assert!(parse("").unwrap().is_empty());
        for bad in ["a=b c", "in (a)", "a of (b)", "a in b)", "=b", "a/b/c"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
