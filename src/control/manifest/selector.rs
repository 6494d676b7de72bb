//! Label selectors.

use std::collections::BTreeMap;

use super::reader::Reader;
use super::yaml::Node;
use super::{document, names};

/// `matchLabels` and `matchExpressions`; all terms must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    pub labels: BTreeMap<String, String>,
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
    /// Without terms it selects everything; a Link's selectors mean nothing by that
    /// (controlplane 1.1), so ask [`Selector::is_empty`] first there.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.expressions.iter().all(|expression| expression.matches(labels))
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.expressions.is_empty()
    }
}

impl Expression {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

pub(super) fn read(reader: &mut Reader, node: &Node) -> Selector {
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
        let labels = BTreeMap::from([("app".to_owned(), "bb".to_owned())]);
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
}
