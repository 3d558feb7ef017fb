//! A record batch as producers send it (`magic` 2), filled without a call for each record:
//! `pipeline/kafka/compiled_batches.py` is the other side.

use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator, PyList, PyString, PyTuple};

use super::batch::{ATTRIBUTES_AT, BEFORE_LENGTH, CRC_AT, HEADER_BYTES, varint, write_bytes};
use crate::poison::meet;

/// Attributes of a record, and that its time is the batch's: a byte each.
const RECORD_HEAD: [u8; 2] = [0; 2];
const MAGIC: u8 = 2;

/// The records of one batch, all of one time.
#[pyclass]
pub struct BatchBuilder {
    most_bytes: usize,
    timestamp_ms: i64,
    /// As they are sent, not compressed.
    records: Vec<u8>,
    items: Vec<Py<PyTuple>>,
}

#[pymethods]
impl BatchBuilder {
    /// Of fewer bytes than that before it is compressed, its header among them, unless one record has more.
    #[new]
    fn new(most_bytes: usize, timestamp_ms: i64) -> Self {
        Self { most_bytes, timestamp_ms, records: Vec::with_capacity(most_bytes), items: Vec::new() }
    }

    /// Take items, key and value and perhaps a header, for as long as there is room: `first`, if there is one, and then
    /// what an iterator gives. The item for which there is none any more; None: there is no further one.
    fn fill<'py>(
        &mut self,
        first: Option<Bound<'py, PyTuple>>,
        items: &Bound<'py, PyIterator>,
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let mut items = items.clone();
        let mut item = first;
        loop {
            let next = match item.take() {
                Some(item) => item,
                None => match items.next() {
                    Some(item) => item?.cast_into::<PyTuple>()?,
                    None => return Ok(None),
                },
            };
            // First of all, so that whoever goes on after a panic has it.
            self.items.push(next.clone().unbind());
            if !self.add(&next)? {
                self.items.pop();
                return Ok(Some(next));
            }
        }
    }

    /// What was taken.
    #[getter]
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, &self.items)
    }

    #[getter]
    fn record_count(&self) -> usize {
        self.items.len()
    }

    /// Bytes, not compressed.
    #[getter]
    fn size(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// The batch of a producer: its id, its epoch, and the sequence number of the first record. `compress` is
    /// aiokafka's codec of a number, and is not used where it gains nothing.
    fn build<'py>(
        &self,
        py: Python<'py>,
        codec: u8,
        compress: &Bound<'py, PyAny>,
        producer_state: (i64, i16, i32),
    ) -> PyResult<Bound<'py, PyBytes>> {
        meet("build", &[]);
        let (producer_id, epoch, sequence) = producer_state;
        let compressed = compress.call1((PyBytes::new(py, &self.records),))?.cast_into::<PyBytes>()?;
        // As aiokafka counts it.
        let is_less = compressed.as_bytes().len() < HEADER_BYTES + self.records.len();
        let payload = if is_less { compressed.as_bytes() } else { &self.records };
        let count = i32::try_from(self.items.len())?;
        let length = i32::try_from(HEADER_BYTES - BEFORE_LENGTH + payload.len())?;
        PyBytes::new_with(py, HEADER_BYTES + payload.len(), |batch| {
            let mut head = Vec::with_capacity(HEADER_BYTES);
            head.extend(0_i64.to_be_bytes()); // the broker gives offsets
            head.extend(length.to_be_bytes());
            head.extend((-1_i32).to_be_bytes()); // no epoch of a leader
            head.push(MAGIC);
            head.extend(0_u32.to_be_bytes()); // the checksum comes last
            head.extend(i16::from(if is_less { codec } else { 0 }).to_be_bytes());
            head.extend((count - 1).to_be_bytes());
            head.extend(self.timestamp_ms.to_be_bytes());
            head.extend(self.timestamp_ms.to_be_bytes());
            head.extend(producer_id.to_be_bytes());
            head.extend(epoch.to_be_bytes());
            head.extend(sequence.to_be_bytes());
            head.extend(count.to_be_bytes());
            batch[..HEADER_BYTES].copy_from_slice(&head);
            batch[HEADER_BYTES..].copy_from_slice(payload);
            let checksum = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
            batch[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&checksum.to_be_bytes());
            Ok(())
        })
    }
}

impl BatchBuilder {
    /// Append a record, whose item is the last one; false: there is no room for it.
    fn add(&mut self, item: &Bound<'_, PyTuple>) -> PyResult<bool> {
        let part = |at: usize| -> PyResult<Option<Bound<'_, PyBytes>>> { Ok(item.get_item(at)?.extract()?) };
        let (key, value) = (part(0)?, part(1)?);
        let key = key.as_ref().map(|key| key.as_bytes());
        meet("batch", key.unwrap_or_default());
        let value = value.as_ref().map(|value| value.as_bytes());
        let mut headers = Vec::new();
        for at in 2..item.len() {
            let (name, value): (Bound<'_, PyString>, Option<Bound<'_, PyBytes>>) =
                item.get_item(at)?.extract()?;
            headers.push((name, value));
        }
        let offset = self.items.len() as i64 - 1;
        let mut tail = Vec::new();
        varint(&mut tail, headers.len() as i64);
        for (name, value) in &headers {
            write_bytes(&mut tail, Some(name.to_str()?.as_bytes()));
            write_bytes(&mut tail, value.as_ref().map(|value| value.as_bytes()));
        }
        let size = RECORD_HEAD.len() + varint_size(offset) + size_of(key) + size_of(value) + tail.len();
        let length =
            i64::from(i32::try_from(size).map_err(|_| PyOverflowError::new_err("a record of 2 GiB"))?);
        let is_first = self.items.len() == 1;
        if !is_first && self.size() + varint_size(length) + size >= self.most_bytes {
            return Ok(false);
        }
        varint(&mut self.records, length);
        self.records.extend(RECORD_HEAD);
        varint(&mut self.records, offset);
        write_bytes(&mut self.records, key);
        write_bytes(&mut self.records, value);
        self.records.extend(tail);
        Ok(true)
    }
}

/// Of a length and these bytes.
fn size_of(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint_size(bytes.len() as i64) + bytes.len())
}

/// Of a number that is not negative.
fn varint_size(number: i64) -> usize {
    let bits = 65 - number.leading_zeros() as usize;
    bits.div_ceil(7).max(1)
}
