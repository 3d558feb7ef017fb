//! The columns `failures` and `failure_symbols` of `z_event_feed`: groups of crashes, ANRs and exceptions, and the symbol
//! files that their stacks need. What is in them Python works out (`pipeline/storage/crash_rows.py`); nearly no event has
//! any.

use crate::storage::native_columns::{Dictionary, text};

/// As FAILURES and FAILURE_SYMBOLS in `pipeline/storage/columns.py`.
pub const TYPE: &str = "Array(Tuple(place UInt16, kind LowCardinality(String), crash_group String, title String, \
                        culprit String))";
pub const SYMBOLS_TYPE: &str = "Array(Array(Tuple(kind LowCardinality(String), id String, name String, \
                                arch LowCardinality(String), app_version LowCardinality(String), \
                                app_build LowCardinality(String), is_wanted UInt8, file String)))";

/// Kind, id, name, architecture, version and build of the app, whether it is wanted, the file that there was.
pub type Asked = (String, String, String, String, String, String, u8, String);
/// The place of its event in the record, from 0 on; kind, group, title, culprit; what its stack needs.
pub type Failure = (usize, String, String, String, String, Vec<Asked>);

#[derive(Default)]
pub struct Failures {
    /// The rows that have one, in order.
    rows: Vec<usize>,
    places: Vec<u8>,
    kind: Dictionary,
    crash_group: Vec<u8>,
    title: Vec<u8>,
    culprit: Vec<u8>,
    symbols: Symbols,
}

/// Of each failure, in their order.
#[derive(Default)]
struct Symbols {
    ends: Vec<u8>,
    count: u64,
    kind: Dictionary,
    id: Vec<u8>,
    name: Vec<u8>,
    arch: Dictionary,
    app_version: Dictionary,
    app_build: Dictionary,
    is_wanted: Vec<u8>,
    file: Vec<u8>,
}

impl Failures {
    /// The failures of a record whose first event is this row.
    pub fn push_all(&mut self, first_row: usize, failures: &[Failure]) {
        for (index, kind, group, title, culprit, asked) in failures {
            self.rows.push(first_row + index);
            // Each stands alone in its row.
            self.places.extend_from_slice(&1u16.to_le_bytes());
            self.kind.push(kind);
            text(&mut self.crash_group, group);
            text(&mut self.title, title);
            text(&mut self.culprit, culprit);
            self.symbols.push(asked);
        }
    }

    pub fn byte_count(&self) -> usize {
        let symbols = &self.symbols;
        let texts = [&self.places, &self.crash_group, &self.title, &self.culprit, &symbols.ends];
        let of_symbols = [&symbols.id, &symbols.name, &symbols.is_wanted, &symbols.file];
        let dictionaries =
            [&self.kind, &symbols.kind, &symbols.arch, &symbols.app_version, &symbols.app_build];
        texts.iter().chain(&of_symbols).map(|each| each.len()).sum::<usize>()
            + dictionaries.iter().map(|each| each.byte_count()).sum::<usize>()
    }

    /// Both columns' values, of so many rows. `head` writes the name and type of each.
    pub fn write(&self, out: &mut Vec<u8>, count: usize, head: impl Fn(&mut Vec<u8>, &str, &str)) {
        head(out, "failures", TYPE);
        Dictionary::write_head(out);
        self.write_ends(out, count);
        out.extend_from_slice(&self.places);
        self.kind.write_rows(out);
        for texts in [&self.crash_group, &self.title, &self.culprit] {
            out.extend_from_slice(texts);
        }
        head(out, "failure_symbols", SYMBOLS_TYPE);
        let symbols = &self.symbols;
        for _ in [&symbols.kind, &symbols.arch, &symbols.app_version, &symbols.app_build] {
            Dictionary::write_head(out);
        }
        self.write_ends(out, count);
        out.extend_from_slice(&symbols.ends);
        symbols.write(out);
    }

    /// Where the array of each row ends: a row has one failure or none.
    fn write_ends(&self, out: &mut Vec<u8>, count: usize) {
        let mut rows = self.rows.iter().peekable();
        let mut end = 0u64;
        for row in 0..count {
            if rows.next_if(|&&each| each == row).is_some() {
                end += 1;
            }
            out.extend_from_slice(&end.to_le_bytes());
        }
    }
}

impl Symbols {
    fn push(&mut self, asked: &[Asked]) {
        for (kind, id, name, arch, app_version, app_build, is_wanted, file) in asked {
            self.kind.push(kind);
            text(&mut self.id, id);
            text(&mut self.name, name);
            self.arch.push(arch);
            self.app_version.push(app_version);
            self.app_build.push(app_build);
            self.is_wanted.push(*is_wanted);
            text(&mut self.file, file);
        }
        self.count += asked.len() as u64;
        self.ends.extend_from_slice(&self.count.to_le_bytes());
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.kind.write_rows(out);
        out.extend_from_slice(&self.id);
        out.extend_from_slice(&self.name);
        for column in [&self.arch, &self.app_version, &self.app_build] {
            column.write_rows(out);
        }
        out.extend_from_slice(&self.is_wanted);
        out.extend_from_slice(&self.file);
    }
}
