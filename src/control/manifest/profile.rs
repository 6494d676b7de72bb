//! ServiceProfiles (controlplane 2.9, 3.1).

use std::time::Duration;

use http::Method;

use crate::model::service_profile::{
    Condition, Override, RequestMatch, ResponseClass, RetryBudget, Route, ServiceProfile, StatusRange,
};

use super::reader::Reader;
use super::route::matches::read_pattern;
use super::yaml::{Node, Value};

/// How deep conditions may lie in each other.
const DEEPEST: usize = 16;

pub(super) fn read(reader: &mut Reader, node: &Node) -> Option<ServiceProfile> {
    let spec = reader.required_mapping(node, "spec")?;
    let mut profile = ServiceProfile::default();
    for node in reader.mappings(spec, "routes") {
        profile.routes.extend(read_route(reader, node));
    }
    for node in reader.mappings(spec, "dstOverrides") {
        profile.overrides.extend(read_override(reader, node));
    }
    if let Some(node) = reader.mapping(spec, "retryBudget") {
        profile.budget = read_budget(reader, node);
    }
    Some(profile)
}

fn read_route(reader: &mut Reader, node: &Node) -> Option<Route> {
    let name = reader.required_text(node, "name");
    let condition = reader.required_mapping(node, "condition");
    let condition = condition.and_then(|node| read_condition(reader, node, DEEPEST, &read_request));
    let mut responses = Vec::new();
    for node in reader.mappings(node, "responseClasses") {
        let condition = reader.required_mapping(node, "condition");
        let condition = condition.and_then(|node| read_condition(reader, node, DEEPEST, &read_response));
        let failure = reader.flag(node, "isFailure").unwrap_or(false);
        responses.extend(condition.map(|condition| ResponseClass { condition, failure }));
    }
    let retryable = reader.flag(node, "isRetryable").unwrap_or(false);
    let timeout = reader.go_duration(node, "timeout").filter(|timeout| !timeout.is_zero());
    let labels = [("route".to_owned(), name?)].into();
    Some(Route { labels, condition: condition?, responses, retryable, timeout })
}

/// All of what a condition holds must hold; `read_tests` reads what is not made of other conditions.
fn read_condition<T>(
    reader: &mut Reader,
    node: &Node,
    depth: usize,
    read_tests: &dyn Fn(&mut Reader, &Node) -> Vec<T>,
) -> Option<Condition<T>> {
    if depth == 0 {
        reader.problem(node, "conditions lie too deep in each other", format!("at most {DEEPEST} levels"));
        return None;
    }
    let mut parts = Vec::new();
    for (key, join) in [("all", Condition::All as fn(_) -> _), ("any", Condition::Any)] {
        if node.get(key).is_some() {
            let nodes = reader.mappings(node, key);
            let read = nodes.into_iter().map(|node| read_condition(reader, node, depth - 1, read_tests));
            parts.push(join(read.collect::<Option<Vec<_>>>()?));
        }
    }
    if let Some(node) = reader.mapping(node, "not") {
        parts.push(Condition::Not(Box::new(read_condition(reader, node, depth - 1, read_tests)?)));
    }
    parts.extend(read_tests(reader, node).into_iter().map(Condition::Is));
    let known = ["all", "any", "not", "method", "pathRegex", "status"];
    if !known.iter().any(|key| node.get(key).is_some()) {
        let expected = "a test, such as `pathRegex`, `method` or `status`, or one of `all`, `any` and `not`";
        reader.problem(node, "the condition tests nothing", expected);
    }
    match parts.len() {
        0 | 1 => parts.pop(),
        _ => Some(Condition::All(parts)),
    }
}

fn read_request(reader: &mut Reader, node: &Node) -> Vec<RequestMatch> {
    let mut tests = Vec::new();
    if let Some(text) = reader.text(node, "method").filter(|text| !text.is_empty()) {
        match Method::from_bytes(text.to_ascii_uppercase().as_bytes()) {
            Ok(method) => tests.push(RequestMatch::Method(method)),
            Err(_) => {
                let at = node.get("method").unwrap_or(node);
                reader.problem(at, format!("{text:?} is no method"), "a method of HTTP, such as GET");
            }
        }
    }
    if let Some(text) = reader.text(node, "pathRegex").filter(|text| !text.is_empty()) {
        let at = node.get("pathRegex").unwrap_or(node);
        tests.extend(read_pattern(reader, at, text.trim()).map(RequestMatch::Path));
    }
    tests
}

fn read_response(reader: &mut Reader, node: &Node) -> Vec<StatusRange> {
    let Some(status) = reader.mapping(node, "status") else { return Vec::new() };
    let mut end = |key| reader.number(status, key, 100..=599).unwrap_or(0) as u32;
    let (min, max) = (end("min"), end("max"));
    if max > 0 && min > max {
        reader.problem(status, format!("the range {min} to {max} is empty"), "`min` not above `max`");
    }
    vec![StatusRange { min, max }]
}

fn read_override(reader: &mut Reader, node: &Node) -> Option<Override> {
    let text = reader.required_text(node, "authority");
    let weight = reader.required(node, "weight").and_then(|at| {
        let weight = quantity(&at.value);
        if weight.is_none() {
            reader.wrong::<()>(at, "weight", "a number such as 1 or 500m");
        }
        weight
    });
    let text = text?;
    let authority = text.parse().ok();
    if authority.is_none() {
        let at = node.get("authority").unwrap_or(node);
        reader.problem(at, format!("{text:?} is no authority"), "a name, with a port or without");
    }
    Some(Override { authority: authority?, weight: weight? })
}

/// In ten-thousandths.
fn quantity(value: &Value) -> Option<u32> {
    let text = match value {
        Value::Int(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        _ => return None,
    };
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "m" => 10.0,
        "" => 1e4,
        "k" => 1e7,
        _ => return None,
    };
    let weight = number.parse::<f64>().ok()? * scale;
    (weight <= f64::from(u32::MAX)).then_some(weight as u32)
}

fn read_budget(reader: &mut Reader, node: &Node) -> RetryBudget {
    let default = RetryBudget::default();
    for key in ["retryRatio", "minRetriesPerSecond", "ttl"] {
        reader.required(node, key);
    }
    let ratio = node.get("retryRatio").and_then(|at| {
        let ratio = match &at.value {
            Value::Int(number) => Some(*number as f32),
            Value::Float(number) => Some(*number as f32),
            _ => None,
        };
        let ratio = ratio.filter(|ratio| (0.0..=1000.0).contains(ratio));
        if ratio.is_none() {
            reader.wrong::<()>(at, "retryRatio", "a number from 0 to 1000, such as 0.2");
        }
        ratio
    });
    RetryBudget {
        ratio: ratio.unwrap_or(default.ratio),
        per_second: reader
            .number(node, "minRetriesPerSecond", 0..=i32::MAX.into())
            .map_or(default.per_second, |number| number as u32),
        ttl: read_ttl(reader, node).unwrap_or(default.ttl),
    }
}

/// A proxy takes no other, and would retry nothing (contract 3.11).
fn read_ttl(reader: &mut Reader, node: &Node) -> Option<Duration> {
    let ttl = reader.go_duration(node, "ttl")?;
    if (Duration::from_secs(1)..=Duration::from_secs(60)).contains(&ttl) {
        return Some(ttl);
    }
    let at = node.get("ttl").unwrap_or(node);
    reader.problem(at, format!("`ttl` is {ttl:?}"), "a duration from 1s to 60s");
    None
}
