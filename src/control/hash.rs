//! The hashes by which names and addresses are derived: small, stable for ever, not for secrets.

/// FNV-1a, 32 bits: the hash of Kubernetes' pod-template names.
pub fn fnv32(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// FNV-1a, 64 bits.
pub fn fnv64(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What stands for a resource version: another one for another content.
pub fn version(content: &str) -> String {
    (fnv64(content) % 1_000_000_000).to_string()
}

/// In the form of a UUID.
pub fn uid(text: &str) -> String {
    let (high, low) = (fnv64(text), fnv64(&format!("{text}!")));
    let (a, b, c) = (high >> 32, (high >> 16) & 0xffff, high & 0x0fff);
    format!("{a:08x}-{b:04x}-4{c:03x}-8{:03x}-{:012x}", low >> 52, low & 0xffff_ffff_ffff)
}

/// The alphabet of generated names: no vowels and no look-alikes, so that no words appear.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// `length` letters that follow from `text` alone.
pub fn suffix(text: &str, length: usize) -> impl Iterator<Item = char> + use<> {
    let mut rest = fnv64(text);
    // FNV's low bits are its weakest: mix once before cutting it up.
    rest ^= rest >> 32;
    rest = rest.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..length).map(move |_| {
        let letter = ALPHABET[(rest % 27) as usize];
        rest /= 27;
        char::from(letter)
    })
}

/// A number's decimal digits in the same alphabet, as Kubernetes spells pod-template hashes.
pub fn digits(number: u32) -> String {
    number.to_string().bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % 27])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_the_published_ones() {
        assert_eq!(fnv32("foobar"), 0xbf9c_f968);
        assert_eq!(fnv64("foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn suffixes_are_stable_and_differ() {
        assert_eq!(suffix("a", 5).count(), 5);
        assert!(suffix("a", 5).eq(suffix("a", 5)));
        assert!(suffix("mc-demo/bb-0", 5).ne(suffix("mc-demo/bb-1", 5)));
    }
}
