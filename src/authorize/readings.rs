//! What else may a request be read as by the application behind us? Its path, and fields that have several values.

use std::borrow::Cow;

use http::HeaderName;

use super::path;
use crate::model::inbound::InboundRoute;
use crate::model::matching::{Head, Values};

/// Readings that are judged; a request that has more is refused.
const MOST: usize = 64;

/// One other reading of a request.
pub(super) struct Reading<'a> {
    path: Cow<'a, str>,
    values: Fields<'a>,
}

/// [`Values`] that may have been decoded.
#[derive(Clone, PartialEq)]
enum Fields<'a> {
    All,
    Pieces,
    OnlyHeader(&'a HeaderName, &'a [u8]),
    OnlyQuery(&'a str, Cow<'a, str>),
}

impl<'a> Reading<'a> {
    /// The request, so read.
    pub(super) fn of<'r>(&'r self, head: &Head<'r>) -> Head<'r> {
        let values = match &self.values {
            Fields::All => Values::All,
            Fields::Pieces => Values::Pieces,
            Fields::OnlyHeader(name, value) => Values::OnlyHeader(name, value),
            Fields::OnlyQuery(name, value) => Values::OnlyQuery(name, value),
        };
        Head { path: &self.path, values, ..*head }
    }
}

/// The other readings, as far as these routes look at what differs. `None`: there are more than are judged, or a pattern
/// cannot judge what it is asked about.
pub(super) fn of<'a>(routes: &'a [InboundRoute], head: &Head<'a>) -> Option<Vec<Reading<'a>>> {
    let (mut by_path, mut values) = (false, Vec::new());
    for matches in routes.iter().flat_map(|route| &route.rules).flat_map(|rule| &rule.matches) {
        if !matches.can_judge(head) {
            return None;
        }
        by_path |= matches.path.as_ref().is_some_and(|path| !path.takes_every_path());
        for header in &matches.headers {
            add_header(&mut values, &header.name, head);
        }
        for query in &matches.query {
            add_query(&mut values, &query.name, head);
        }
    }
    let paths = if by_path { path::readings(head.path)? } else { Vec::new() };
    if paths.is_empty() && values.is_empty() {
        return Some(Vec::new());
    }
    if (paths.len() + 1) * (values.len() + 1) > MOST {
        return None;
    }
    values.insert(0, Fields::All);
    let paths = std::iter::once(Cow::Borrowed(head.path)).chain(paths.into_iter().map(Cow::Owned));
    let read = |path: Cow<'a, str>, values: &Fields<'a>| Reading { path, values: values.clone() };
    let all = paths.flat_map(|path| values.iter().map(move |values| read(path.clone(), values)));
    // The first is the request as it came.
    Some(all.skip(1).collect())
}

/// Of a header that came more than once, each line may be the one that is read; of one with commas, each piece.
fn add_header<'a>(values: &mut Vec<Fields<'a>>, name: &'a HeaderName, head: &Head<'a>) {
    let lines = head.headers.get_all(name);
    if lines.iter().any(|line| line.as_bytes().contains(&b',')) {
        add(values, Fields::Pieces);
    }
    if lines.iter().nth(1).is_some() {
        lines.iter().for_each(|line| add(values, Fields::OnlyHeader(name, line.as_bytes())));
    }
}

fn add_query<'a>(values: &mut Vec<Fields<'a>>, name: &'a str, head: &Head<'a>) {
    if head.parameters(name).nth(1).is_some() {
        head.parameters(name).for_each(|value| add(values, Fields::OnlyQuery(name, value)));
    }
}

/// One more, of which there are too many anyway once they are as many as this.
fn add<'a>(values: &mut Vec<Fields<'a>>, one: Fields<'a>) {
    if values.len() <= MOST && !values.contains(&one) {
        values.push(one);
    }
}
