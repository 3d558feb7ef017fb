//! The records of a fetch, without an object for each: `pipeline/kafka/packed_records.py` is the other side.

use std::sync::Arc;

use pyo3::exceptions::PyIndexError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PySlice, PyString};

use super::batch::{Batch, Next, Place, Span, headers_in, next_batch, places_of, write_header};
use crate::poison::meet;

/// What records lie in.
enum Buffer {
    Fetched(Py<PyBytes>),
    Copied(Vec<u8>),
}

impl Buffer {
    fn bytes<'a>(&'a self, py: Python<'a>) -> &'a [u8] {
        match self {
            Self::Fetched(bytes) => bytes.as_bytes(py),
            Self::Copied(bytes) => bytes,
        }
    }
}

/// Records and what they lie in.
#[derive(Default)]
pub struct All {
    buffers: Vec<Buffer>,
    /// With the buffer of each.
    places: Vec<(Place, u32)>,
}

impl All {
    pub fn place(&self, at: usize) -> &Place {
        &self.places[at].0
    }

    fn bytes<'a>(&'a self, py: Python<'a>, at: usize) -> &'a [u8] {
        self.buffers[self.places[at].1 as usize].bytes(py)
    }

    fn part<'a>(&'a self, py: Python<'a>, at: usize, span: Span) -> Option<&'a [u8]> {
        span.map(|(from, length)| &self.bytes(py, at)[from as usize..(from + length) as usize])
    }

    pub fn key<'a>(&'a self, py: Python<'a>, at: usize) -> Option<&'a [u8]> {
        self.part(py, at, self.place(at).key)
    }

    pub fn value<'a>(&'a self, py: Python<'a>, at: usize) -> Option<&'a [u8]> {
        self.part(py, at, self.place(at).value)
    }

    pub fn headers<'a>(&'a self, py: Python<'a>, at: usize) -> Vec<(&'a str, Option<&'a [u8]>)> {
        headers_in(self.bytes(py, at), self.place(at).headers)
    }

    /// As aiokafka has them.
    pub fn headers_list<'py>(&self, py: Python<'py>, at: usize) -> PyResult<Bound<'py, PyList>> {
        let headers = self.headers(py, at).into_iter();
        PyList::new(
            py,
            headers
                .map(|(name, value)| (name, value.map(|value| PyBytes::new(py, value))))
                .collect::<Vec<_>>(),
        )
    }

    /// Copies a record of which Python has an object.
    fn copy(&mut self, record: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = record.py();
        let Some(Buffer::Copied(data)) = self.buffers.first_mut() else { return Ok(()) };
        let mut put = |name: &Bound<'_, PyString>| -> PyResult<Span> {
            let found = record.getattr(name)?;
            if found.is_none() {
                return Ok(None);
            }
            let found = found.cast_into::<PyBytes>()?;
            let at = short(data.len())?;
            data.extend_from_slice(found.as_bytes());
            Ok(Some((at, short(found.as_bytes().len())?)))
        };
        let (key, value) = (put(intern!(py, "key"))?, put(intern!(py, "value"))?);
        let from = short(data.len())?;
        let mut header_count = 0;
        let headers = record.getattr(intern!(py, "headers"))?;
        if !headers.is_none() {
            for header in headers.try_iter()? {
                let (name, value): (String, Option<Bound<'_, PyBytes>>) = header?.extract()?;
                write_header(data, name.as_bytes(), value.as_ref().map(|value| value.as_bytes()));
                header_count += 1;
            }
        }
        let place = Place {
            offset: record.getattr(intern!(py, "offset"))?.extract()?,
            timestamp: record.getattr(intern!(py, "timestamp"))?.extract()?,
            is_append_time: false,
            key,
            value,
            headers: (from, short(data.len())?),
            header_count,
        };
        self.places.push((place, 0));
        Ok(())
    }
}

fn short(number: usize) -> PyResult<u32> {
    Ok(u32::try_from(number)?)
}

/// Several records of one partition, ascending by offset: a sequence.
#[pyclass(frozen)]
pub struct Records {
    pub all: Arc<All>,
    pub from: usize,
    pub to: usize,
}

/// One of them, as aiokafka unpacks it.
#[pyclass(frozen, get_all)]
pub struct Record {
    offset: i64,
    timestamp: i64,
    timestamp_type: u8,
    key: Option<Py<PyBytes>>,
    value: Option<Py<PyBytes>>,
    headers: Py<PyList>,
}

#[pymethods]
impl Records {
    fn __len__(&self) -> usize {
        self.to - self.from
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if let Ok(slice) = index.cast::<PySlice>() {
            let asked = slice.indices(self.__len__().cast_signed())?;
            if asked.step != 1 {
                return Err(PyIndexError::new_err("records are cut in one piece"));
            }
            let (from, length) = (self.from + asked.start.cast_unsigned(), asked.slicelength);
            let part = Self { all: self.all.clone(), from, to: from + length };
            return Ok(Bound::new(py, part)?.into_any());
        }
        let index: isize = index.extract()?;
        let place = if index < 0 { self.to.cast_signed() } else { self.from.cast_signed() } + index;
        let Some(at) = usize::try_from(place).ok().filter(|at| (self.from..self.to).contains(at)) else {
            return Err(PyIndexError::new_err("there are fewer records"));
        };
        let (all, own) =
            (&self.all, |part: Option<&[u8]>| part.map(|bytes| PyBytes::new(py, bytes).unbind()));
        let place = all.place(at);
        let record = Record {
            offset: place.offset,
            timestamp: place.timestamp,
            timestamp_type: place.is_append_time.into(),
            key: own(all.key(py, at)),
            value: own(all.value(py, at)),
            headers: all.headers_list(py, at)?.unbind(),
        };
        Ok(Bound::new(py, record)?.into_any())
    }

    /// Of keys and values.
    #[getter]
    fn byte_count(&self) -> usize {
        (self.from..self.to).map(|at| size_of(self.all.place(at))).sum()
    }
}

impl Records {
    /// The same of any records.
    pub fn of(records: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(packed) = records.cast::<Self>() {
            let packed = packed.get();
            return Ok(Self { all: packed.all.clone(), from: packed.from, to: packed.to });
        }
        let mut all = All { buffers: vec![Buffer::Copied(Vec::new())], places: Vec::new() };
        for record in records.try_iter()? {
            all.copy(&record?)?;
        }
        let to = all.places.len();
        Ok(Self { all: Arc::new(all), from: 0, to })
    }
}

fn size_of(place: &Place) -> usize {
    [place.key, place.value].iter().flatten().map(|(_, length)| *length as usize).sum()
}

/// A batch that is unpacked.
struct Open {
    buffer: Py<PyBytes>,
    places: std::vec::IntoIter<Place>,
    next_offset: i64,
}

/// What a fetch brought of a partition, unpacked as it is asked for.
#[pyclass]
pub struct Fetched {
    fetch: Py<PyBytes>,
    /// Where the next batch begins.
    at: usize,
    decompress: Py<PyAny>,
    open: Option<Open>,
    #[pyo3(get)]
    next_fetch_offset: i64,
    /// All was taken that is whole.
    #[pyo3(get)]
    is_done: bool,
    /// The next batch is none that is taken here.
    #[pyo3(get)]
    is_doubtful: bool,
}

#[pymethods]
impl Fetched {
    /// `decompress` gives the bytes of a payload, which aiokafka's codec of that number made.
    #[new]
    fn new(fetch: Py<PyBytes>, next_fetch_offset: i64, decompress: Py<PyAny>) -> Self {
        let (is_done, is_doubtful) = (false, false);
        Self { fetch, at: 0, decompress, open: None, next_fetch_offset, is_done, is_doubtful }
    }

    /// Records of at most so many bytes, the first whatever it has, and no more than `most`.
    fn take(&mut self, py: Python<'_>, most: usize, most_bytes: usize) -> Records {
        let mut all = All::default();
        let mut left = most_bytes.cast_signed();
        while let Some(mut open) = self.open.take().or_else(|| self.next(py)) {
            let mut buffer = None;
            for place in open.places.by_ref() {
                // Of a compressed batch, all comes.
                if place.offset < self.next_fetch_offset {
                    continue;
                }
                self.next_fetch_offset = place.offset + 1;
                meet("take", place.offset.to_be_bytes().as_slice());
                left -= size_of(&place).cast_signed();
                // A batch of which nothing is taken is not kept.
                let buffer = *buffer.get_or_insert_with(|| {
                    all.buffers.push(Buffer::Fetched(open.buffer.clone_ref(py)));
                    u32::try_from(all.buffers.len() - 1).expect("batches have some bytes")
                });
                all.places.push((place, buffer));
                if left <= 0 || all.places.len() >= most {
                    self.open = Some(open);
                    return whole(all);
                }
            }
            // Behind the records that compaction has left of it.
            self.next_fetch_offset = self.next_fetch_offset.max(open.next_offset);
        }
        whole(all)
    }

    /// What is not unpacked.
    fn rest<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.fetch.as_bytes(py)[self.at..])
    }
}

fn whole(all: All) -> Records {
    let to = all.places.len();
    Records { all: Arc::new(all), from: 0, to }
}

impl Fetched {
    fn next(&mut self, py: Python<'_>) -> Option<Open> {
        while !self.is_done && !self.is_doubtful {
            match next_batch(self.fetch.as_bytes(py), self.at) {
                Next::Batch(batch) if batch.is_control => {
                    self.at = batch.payload.end;
                    self.next_fetch_offset = self.next_fetch_offset.max(batch.next_offset);
                }
                Next::Batch(batch) => {
                    let open = self.opened(py, &batch);
                    self.is_doubtful = open.is_none();
                    if open.is_some() {
                        self.at = batch.payload.end;
                        return open;
                    }
                }
                Next::End => self.is_done = true,
                Next::Doubt => self.is_doubtful = true,
            }
        }
        None
    }

    fn opened(&self, py: Python<'_>, batch: &Batch) -> Option<Open> {
        let (buffer, within) = if batch.codec == 0 {
            (self.fetch.clone_ref(py), batch.payload.clone())
        } else {
            let payload = PyBytes::new(py, &self.fetch.as_bytes(py)[batch.payload.clone()]);
            // Whatever is wrong with it, aiokafka will say.
            let found = self.decompress.bind(py).call1((batch.codec, payload)).ok()?;
            let found = found.cast_into::<PyBytes>().ok()?;
            let within = 0..found.as_bytes().len();
            (found.unbind(), within)
        };
        let places = places_of(batch, buffer.as_bytes(py), within)?.into_iter();
        Some(Open { buffer, places, next_offset: batch.next_offset })
    }
}
