//! A ClientHello as a connection's first bytes, without a client that would go on.

/// Asks for this name, in one record.
pub(crate) fn client_hello(name: Option<&str>) -> Vec<u8> {
    let sized = |bytes: Vec<u8>| [&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat();
    let extensions = name.map_or_else(Vec::new, |name| {
        let list = [vec![0], sized(name.as_bytes().to_vec())].concat();
        [vec![0, 0], sized(sized(list))].concat()
    });
    let body =
        [vec![3, 3], vec![7; 32], vec![0], sized(vec![0x13, 1]), vec![1, 0], sized(extensions)].concat();
    let message = [vec![1, 0], sized(body)].concat();
    [vec![22, 3, 1], sized(message)].concat()
}
