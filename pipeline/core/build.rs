//! Notes what the core is built of, so that tests know an installed one that is not of the sources beside them.

use std::path::{Path, PathBuf};
use std::{fs, io};

fn main() -> io::Result<()> {
    let mut files = Vec::new();
    find(Path::new("src"), &mut files)?;
    files.sort();
    let mut sum = 0xffff_ffff;
    for file in files {
        for byte in fs::read(file)? {
            sum = added(sum, byte);
        }
    }
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rustc-env=SOURCES={:08x}", sum ^ 0xffff_ffff);
    Ok(())
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// CRC-32, as `zlib.crc32` has it.
fn added(sum: u32, byte: u8) -> u32 {
    (0..8).fold(sum ^ u32::from(byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 * (sum & 1)))
}
