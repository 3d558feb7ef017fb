//! Ids for what its format gives none: a function of what was sent alone, never of its place in a batch.

use blake2::digest::consts::U16;
use blake2::{Blake2b, Digest};

/// The id of some bytes: `h-` and their BLAKE2b-128, in 32 hexadecimal digits.
pub fn digest_id(out: &mut Vec<u8>, content: &[u8]) {
    out.extend(b"h-");
    write_hex(out, &Blake2b::<U16>::digest(content));
}

/// Bytes as lower-case hexadecimal digits.
pub fn write_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.extend([
            b"0123456789abcdef"[usize::from(byte >> 4)],
            b"0123456789abcdef"[usize::from(byte & 15)],
        ]);
    }
}
