//! The partition of `sdk-events` that a key belongs to: the one that Kafka's own default partitioner gives it.

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;

/// The partition of a key in a topic of so many.
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions
}

/// The hash of a key as Kafka's Java client computes it.
fn murmur2(data: &[u8]) -> u32 {
    // Kafka has no key of as many bytes as 32 bits do not count.
    let mut found = SEED ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in words.by_ref() {
        let mixed = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(MULTIPLIER);
        found = found.wrapping_mul(MULTIPLIER) ^ (mixed ^ mixed >> 24).wrapping_mul(MULTIPLIER);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        let last = rest.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
        found = (found ^ last).wrapping_mul(MULTIPLIER);
    }
    found = (found ^ found >> 13).wrapping_mul(MULTIPLIER);
    found ^ found >> 15
}
