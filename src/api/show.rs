//! Messages for people: what the control plane said, whole, as JSON.
//!
//! The generated types carry no names of their fields but in their `Debug` text, which spells them as the
//! protocol does; so that text is read. What is empty is left out, as in Linkerd's output.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::SocketAddr;

use linkerd2_proxy_api::destination as pb;
use serde_json::{Map, Value};

use super::destination::socket_addr;

/// Any message as JSON; as its `Debug` text where that is of no known form.
pub fn json(message: &impl Debug) -> Value {
    let text = format!("{message:?}");
    let mut parser = Parser { rest: &text };
    parser.value(Place::Field).filter(|_| parser.rest.is_empty()).unwrap_or_else(|| Value::from(text))
}

/// One address that `Get` told, with the Service of its set.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub namespace: String,
    /// `<service>.<namespace>`.
    pub service: String,
    pub pod: String,
    pub weight: u32,
    /// The address's own.
    pub labels: BTreeMap<String, String>,
    /// `Null` where nothing was said.
    pub http2: Value,
}

/// Applies one message of `Get` to what is known.
pub fn apply(rows: &mut BTreeMap<SocketAddr, Row>, update: pb::Update) {
    match update.update {
        Some(pb::update::Update::Add(set)) => {
            let of = |label: &str| set.metric_labels.get(label).map_or("", String::as_str);
            let (service, namespace) = (of("service"), of("namespace"));
            for addr in set.addrs.iter().cloned() {
                let http2 = addr.http2.as_ref().map_or(Value::Null, json);
                let Some(at) = addr.addr.and_then(socket_addr) else { continue };
                let row = Row {
                    namespace: namespace.to_owned(),
                    service: format!("{service}.{namespace}"),
                    pod: addr.metric_labels.get("pod").cloned().unwrap_or_default(),
                    weight: addr.weight,
                    labels: addr.metric_labels.into_iter().collect(),
                    http2,
                };
                rows.insert(at, row);
            }
        }
        Some(pb::update::Update::Remove(set)) => {
            for addr in set.addrs.into_iter().filter_map(socket_addr) {
                rows.remove(&addr);
            }
        }
        Some(pb::update::Update::NoEndpoints(_)) => rows.clear(),
        None => {}
    }
}

/// Where a bare word stands: it is an empty message or a value of an enumeration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Field,
    /// Within `Some(…)` or the variant of a oneof.
    Message,
}

/// The one oneof whose variant holds an enumeration, of methods and schemes.
const ENUMERATED: &str = "Registered";

/// What is left of the text. Empty lists and maps are `Null`, empty messages are objects.
struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn value(&mut self, place: Place) -> Option<Value> {
        match self.rest.chars().next()? {
            '"' => self.text().map(Value::from),
            '[' => self.list(),
            '{' => self.map(),
            '-' | '0'..='9' => self.number(),
            _ => self.named(place),
        }
    }

    fn eat(&mut self, token: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(token)?;
        Some(())
    }

    fn word(&mut self) -> Option<&'a str> {
        let end =
            self.rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '#').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then(|| word.trim_start_matches("r#"))
    }

    fn named(&mut self, place: Place) -> Option<Value> {
        let word = self.word()?;
        if self.eat("(").is_some() {
            let place = if word == ENUMERATED { Place::Field } else { Place::Message };
            let value = self.value(place)?;
            self.eat(")")?;
            return Some(if word == "Some" {
                value
            } else {
                Value::Object(Map::from_iter([(word.to_owned(), value)]))
            });
        }
        if self.eat(" { ").is_some() {
            return self.fields();
        }
        Some(match (word, place) {
            ("None", _) => Value::Null,
            ("true" | "false", _) => Value::Bool(word == "true"),
            (_, Place::Message) => Value::Object(Map::new()),
            (_, Place::Field) => Value::from(word),
        })
    }

    fn fields(&mut self) -> Option<Value> {
        let mut fields = Map::new();
        loop {
            let name = self.word()?;
            self.eat(": ")?;
            let value = self.value(Place::Field)?;
            if !is_empty(&value) {
                fields.insert(name.to_owned(), value);
            }
            if self.eat(", ").is_none() {
                self.eat(" }")?;
                return Some(Value::Object(fields));
            }
        }
    }

    fn list(&mut self) -> Option<Value> {
        self.eat("[")?;
        let mut items = Vec::new();
        while self.eat("]").is_none() {
            if !items.is_empty() {
                self.eat(", ")?;
            }
            items.push(self.value(Place::Message)?);
        }
        Some(if items.is_empty() { Value::Null } else { Value::Array(items) })
    }

    fn map(&mut self) -> Option<Value> {
        self.eat("{")?;
        let mut entries = Map::new();
        while self.eat("}").is_none() {
            if !entries.is_empty() {
                self.eat(", ")?;
            }
            let key = self.text()?;
            self.eat(": ")?;
            entries.insert(key, self.value(Place::Message)?);
        }
        Some(if entries.is_empty() { Value::Null } else { Value::Object(entries) })
    }

    fn number(&mut self) -> Option<Value> {
        let end = self.rest.find([',', ' ', ')', ']', '}']).unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at(end);
        self.rest = rest;
        serde_json::from_str(number).ok()
    }

    /// Between quotes, with Rust's escapes.
    fn text(&mut self) -> Option<String> {
        self.eat("\"")?;
        let mut text = String::new();
        let mut chars = self.rest.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => text.push(escaped(&mut chars)?),
                c => text.push(c),
            }
        }
        self.rest = chars.as_str();
        Some(text)
    }
}

fn escaped(chars: &mut std::str::Chars<'_>) -> Option<char> {
    Some(match chars.next()? {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        '0' => '\0',
        'u' => {
            let (code, rest) = chars.as_str().strip_prefix('{')?.split_once('}')?;
            *chars = rest.chars();
            char::from_u32(u32::from_str_radix(code, 16).ok()?)?
        }
        c => c,
    })
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use linkerd2_proxy_api::{http_route, http_types, inbound, meta};
    use serde_json::json as value;

    use super::*;

    #[test]
    fn messages_are_shown_with_the_protocols_own_names() {
        let authz = inbound::Authz {
            labels: [("name".to_owned(), "a \"b\"\n\u{7f}".to_owned())].into(),
            authentication: Some(inbound::Authn {
                permit: Some(inbound::authn::Permit::Unauthenticated(
                    inbound::authn::PermitUnauthenticated {},
                )),
            }),
            metadata: Some(meta::Metadata { kind: Some(meta::metadata::Kind::Default("probe".into())) }),
            networks: vec![inbound::Network { net: None, except: Vec::new() }],
        };
        let shown = value!({
            "labels": { "name": "a \"b\"\n\u{7f}" },
            "authentication": { "permit": { "Unauthenticated": {} } },
            "metadata": { "kind": { "Default": "probe" } },
            "networks": [{}],
        });
        assert_eq!(json(&authz), shown);
    }

    #[test]
    fn enumerations_are_words_numbers_are_numbers_and_what_is_empty_is_left_out() {
        let method = http_types::HttpMethod {
            r#type: Some(http_types::http_method::Type::Registered(
                http_types::http_method::Registered::Get.into(),
            )),
        };
        let found = http_route::HttpRouteMatch { method: Some(method), ..Default::default() };
        assert_eq!(json(&found), value!({ "method": { "type": { "Registered": "Get" } } }));
        let budget = pb::RetryBudget {
            retry_ratio: 0.5,
            min_retries_per_second: 0,
            ttl: Some(prost_types::Duration { seconds: 10, nanos: -1 }),
        };
        assert_eq!(json(&budget), value!({ "retry_ratio": 0.5, "ttl": { "seconds": 10, "nanos": -1 } }));
        assert_eq!(json(&pb::DestinationProfile::default()), value!({}));
    }

    #[test]
    fn text_of_another_form_stays_text() {
        struct Odd;
        impl Debug for Odd {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("Odd <1>")
            }
        }
        assert_eq!(json(&Odd), value!("Odd <1>"));
    }
}
