//! A second opinion on HTTP/1 requests, by the letter of RFC 9112 and nothing more. Shares no code with the proxy or
//! its libraries, and takes no liberties: what it does not take is either one of the known ways to make two readers
//! disagree, or merely unusual.

/// What the first bytes are.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A whole request, and the bytes it took.
    Request(Request, usize),
    /// The start of one; `Some` once its head is whole.
    Partial(Option<Request>),
    /// Readers disagree on where this request ends, or on whom it is for: nobody may forward it.
    Ambiguous(&'static str),
    /// What every reader refuses.
    Malformed(&'static str),
    /// Not by the letter, though every reader that takes it takes the same.
    Unusual(&'static str),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub target: String,
    /// The last digit of `HTTP/1.x`.
    pub minor: u8,
    /// Names in lower case.
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// How a request's end is found.
enum Framing {
    Length(usize),
    Chunked,
}

impl Request {
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        self.fields.iter().filter(|(n, _)| n == name).map(|(_, value)| &value[..]).collect()
    }
}

/// Reads one request off the start of `bytes`.
pub fn parse(bytes: &[u8]) -> Parsed {
    match request(bytes) {
        Ok(parsed) | Err(parsed) => parsed,
    }
}

type Step<T> = Result<T, Parsed>;

fn request(bytes: &[u8]) -> Step<Parsed> {
    let mut at = 0;
    let (mut request, line) = request_line(bytes, &mut at)?;
    request.minor = line;
    loop {
        let text = line_at(bytes, &mut at)?;
        if text.is_empty() {
            break;
        }
        request.fields.push(field(text)?);
    }
    let body = match framing(&request)? {
        Framing::Length(length) => match bytes[at..].split_at_checked(length) {
            Some((body, _)) => {
                at += length;
                Some(body.to_vec())
            }
            None => None,
        },
        Framing::Chunked => chunked(bytes, &mut at)?,
    };
    let Some(body) = body else { return Ok(Parsed::Partial(Some(request))) };
    request.body = body;
    Ok(Parsed::Request(request, at))
}

fn request_line(bytes: &[u8], at: &mut usize) -> Step<(Request, u8)> {
    let line = line_at(bytes, at)?;
    let line = str::from_utf8(line).map_err(|_| Parsed::Unusual("a request line that is not text"))?;
    let [method, target, version] = line.split(' ').collect::<Vec<_>>()[..] else {
        return Err(Parsed::Unusual("a request line that is not of three words"));
    };
    let minor = match version {
        "HTTP/1.0" => 0,
        "HTTP/1.1" => 1,
        _ => return Err(Parsed::Unusual("another version")),
    };
    if method.is_empty() || !method.bytes().all(is_token) {
        return Err(Parsed::Unusual("a method that is no token"));
    }
    if target.is_empty() || !target.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Err(Parsed::Unusual("a target with bytes that stand in none"));
    }
    Ok((Request { method: method.into(), target: target.into(), ..Request::default() }, minor))
}

/// The text up to the next CR LF.
fn line_at<'a>(bytes: &'a [u8], at: &mut usize) -> Step<&'a [u8]> {
    let rest = &bytes[*at..];
    let end = rest.iter().position(|b| matches!(b, b'\n' | b'\r' | 0));
    match end.map(|end| (end, &rest[end..])) {
        Some((end, [b'\r', b'\n', ..])) => {
            *at += end + 2;
            Ok(&rest[..end])
        }
        None | Some((_, [b'\r'])) => Err(Parsed::Partial(None)),
        Some((_, [b'\n', ..])) => Err(Parsed::Ambiguous("a line that ends in LF alone")),
        Some((_, [b'\r', ..])) => Err(Parsed::Ambiguous("a CR inside a line")),
        Some(_) => Err(Parsed::Ambiguous("a NUL")),
    }
}

fn field(line: &[u8]) -> Step<(String, Vec<u8>)> {
    if line[0] == b' ' || line[0] == b'\t' {
        return Err(Parsed::Ambiguous("a folded line"));
    }
    let colon = line.iter().position(|b| *b == b':');
    let colon = colon.ok_or(Parsed::Malformed("a field without a colon"))?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return Err(Parsed::Malformed("a field name that is no token"));
    }
    if value.iter().any(|b| *b < b' ' && *b != b'\t' || *b == 0x7f) {
        return Err(Parsed::Unusual("a control character in a value"));
    }
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    Ok((name, trimmed(value).to_vec()))
}

fn framing(request: &Request) -> Step<Framing> {
    if request.all("host").len() > 1 {
        return Err(Parsed::Malformed("two hosts"));
    }
    let (lengths, codings) = (request.all("content-length"), request.all("transfer-encoding"));
    match (&lengths[..], &codings[..]) {
        ([], []) => Ok(Framing::Length(0)),
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") && request.minor == 1 => {
            Ok(Framing::Chunked)
        }
        ([length], []) => number(length, 10).map(Framing::Length),
        ([], _) => Err(Parsed::Ambiguous("transfer codings other than one chunked")),
        (_, []) => Err(Parsed::Ambiguous("two content lengths")),
        _ => Err(Parsed::Ambiguous("a content length and a transfer coding")),
    }
}

/// The bytes of a chunked body; `None` where it is not whole yet.
fn chunked(bytes: &[u8], at: &mut usize) -> Step<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        let line = match line_at(bytes, at) {
            Ok(line) => line,
            Err(Parsed::Partial(_)) => return Ok(None),
            Err(other) => return Err(unusual(other)),
        };
        let size = line.split(|b| *b == b';').next().unwrap_or_default();
        if size.len() < line.len() {
            return Err(Parsed::Unusual("a chunk extension"));
        }
        let size = number(size, 16).map_err(unusual)?;
        if size == 0 {
            return trailers(bytes, at).map(|whole| whole.then_some(body));
        }
        let Some(chunk) = bytes.get(*at..at.saturating_add(size)) else { return Ok(None) };
        body.extend_from_slice(chunk);
        *at += size;
        match &bytes[*at..] {
            [b'\r', b'\n', ..] => *at += 2,
            [] | [b'\r'] => return Ok(None),
            _ => return Err(Parsed::Unusual("a chunk that is longer than its size")),
        }
    }
}

fn trailers(bytes: &[u8], at: &mut usize) -> Step<bool> {
    loop {
        match line_at(bytes, at) {
            Ok([]) => return Ok(true),
            Ok(line) => field(line).map(drop).map_err(unusual)?,
            Err(Parsed::Partial(_)) => return Ok(false),
            Err(other) => return Err(unusual(other)),
        }
    }
}

/// By the time a body turns out to be odd its head may have gone on: the request fails then, and nothing after it is
/// read. That is not for a bound on heads to say.
fn unusual(parsed: Parsed) -> Parsed {
    match parsed {
        Parsed::Ambiguous(what) | Parsed::Malformed(what) => Parsed::Unusual(what),
        other => other,
    }
}

fn number(text: &[u8], radix: u32) -> Step<usize> {
    let digits = !text.is_empty() && text.iter().all(|b| char::from(*b).is_digit(radix));
    let text = str::from_utf8(text).ok().filter(|_| digits);
    text.and_then(|text| usize::from_str_radix(text, radix).ok())
        .ok_or(Parsed::Ambiguous("a length that is no number"))
}

fn trimmed(value: &[u8]) -> &[u8] {
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let start = value.iter().position(|b| !blank(b)).unwrap_or(value.len());
    let end = value.iter().rposition(|b| !blank(b)).map_or(start, |end| end + 1);
    &value[start..end]
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
