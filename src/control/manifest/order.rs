//! Documents in the order of their names, so that every list of them is made by adding to its end.

use std::collections::BTreeMap;

use super::Document;

/// By namespace and name; those of one name stay in the order that they have.
pub(super) fn sort(documents: &mut Vec<&Document>) {
    let ranks = ranks(documents);
    let (mut last, mut rank) = (None, 0);
    let numbers = (0..).zip(documents.iter()).map(|(at, document)| {
        let name = &document.meta.name;
        if last != Some(&*name.namespace) {
            last = Some(&*name.namespace);
            rank = ranks.get(&*name.namespace).copied().unwrap_or_default();
        }
        (number(rank, &name.name), at)
    });
    let mut numbers: Vec<(u128, usize)> = numbers.collect();
    let name = |at: usize| documents.get(at).map(|document| &*document.meta.name.name);
    // Nearly all of it is numbers: texts are in memory far away.
    numbers.sort_unstable_by(|(a, at), (b, other)| {
        a.cmp(b).then_with(|| name(*at).cmp(&name(*other))).then_with(|| at.cmp(other))
    });
    *documents = numbers.iter().filter_map(|(_, at)| documents.get(*at).copied()).collect();
}

/// Namespaces in their order. Most documents lie where the one before lies.
fn ranks<'a>(documents: &[&'a Document]) -> BTreeMap<&'a str, u32> {
    let mut ranks = BTreeMap::new();
    let mut last = None;
    for document in documents {
        let namespace = &*document.meta.name.namespace;
        if last != Some(namespace) {
            ranks.insert(namespace, 0);
            last = Some(namespace);
        }
    }
    ranks.values_mut().zip(0..).for_each(|(rank, at)| *rank = at);
    ranks
}

/// A namespace's rank and the first bytes of a name as a number, in whose order they are.
fn number(rank: u32, name: &str) -> u128 {
    let mut bytes = [0; 16];
    let (high, low) = bytes.split_at_mut(4);
    high.copy_from_slice(&rank.to_be_bytes());
    low.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::control::manifest;

    proptest! {
        #[test]
        fn documents_are_in_the_order_of_their_names(names in prop::collection::vec(("[ab]{1,3}", "[ab]{1,18}"), 0..20)) {
            let file = |(namespace, name): &(String, String)| {
                let text = format!("{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: {name}, namespace: {namespace}}}}}");
                manifest::parse(&Arc::from(Path::new("f.yaml")), &text)
            };
            let parsed: Vec<_> = names.iter().map(file).collect();
            let mut sorted: Vec<&Document> = parsed.iter().flat_map(|parsed| &parsed.documents).collect();
            let mut expected = sorted.clone();
            sort(&mut sorted);
            expected.sort_by_key(|document| &document.meta.name);
            prop_assert!(sorted.iter().zip(&expected).all(|(a, b)| std::ptr::eq(*a, *b)));
        }
    }
}
