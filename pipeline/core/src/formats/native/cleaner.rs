//! The privacy rules of an app. The built-in ones are known here by their names; those of an app's own are Python's.

use hashbrown::{HashMap, HashSet};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::domain::Text;

/// Longer resources and users are not remembered.
const CACHED_BYTES: usize = 4_096;

/// The privacy rules of an app: `formats/native/cleaner.py`.
pub struct Rules {
    /// So that no other one gets its address.
    _cleaner: Py<PyAny>,
    resource: Py<PyAny>,
    user: Py<PyAny>,
    pub private: HashSet<String>,
    /// The app has rules of its own: then Python reads.
    pub has_own: bool,
    /// Of resources and of users, as they came, their canonical form.
    known: [HashMap<Box<str>, Text>; 2],
}

/// Resource and user of the record before: most have the same.
pub struct Texts<'a> {
    resource: &'a str,
    user: Option<&'a str>,
    pub canonical: (Text, Text),
}

impl Texts<'_> {
    pub fn are(&self, resource: &str, user: Option<&str>) -> bool {
        self.resource == resource && self.user == user
    }
}

impl Rules {
    /// Those of a `Cleaner`.
    pub fn of(cleaner: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = cleaner.py();
        let watched = cleaner.getattr(intern!(py, "watched"))?;
        let mut private = HashSet::new();
        for name in watched.getattr(intern!(py, "private"))?.try_iter()? {
            private.insert(name?.extract::<String>()?);
        }
        Ok(Self {
            _cleaner: cleaner.clone().unbind(),
            resource: cleaner.getattr(intern!(py, "resource"))?.unbind(),
            user: cleaner.getattr(intern!(py, "user"))?.unbind(),
            // Names that `may_be_private` does not know are left to Python altogether.
            has_own: cleaner.getattr(intern!(py, "has_own"))?.extract()?
                || private.iter().any(|name| !name.starts_with(['u', 'e'])),
            private,
            known: [HashMap::new(), HashMap::new()],
        })
    }

    /// Resource and user with their canonical forms; None if there is a fault in one, or it is no strict JSON.
    pub fn texts<'a>(
        &mut self,
        py: Python<'_>,
        resource: &'a str,
        user: Option<&'a str>,
        size: &mut usize,
    ) -> PyResult<Option<Texts<'a>>> {
        let found = (
            self.canonical(py, 0, resource, size)?,
            user.map_or_else(|| Ok(Some(crate::domain::empty())), |user| self.canonical(py, 1, user, size))?,
        );
        Ok(match found {
            (Some(of_resource), Some(of_user)) => {
                Some(Texts { resource, user, canonical: (of_resource, of_user) })
            }
            _ => None,
        })
    }

    /// The canonical form of a resource (0) or a user (1); None if there is a fault in it, or it is no strict JSON.
    fn canonical(
        &mut self,
        py: Python<'_>,
        which: usize,
        raw: &str,
        size: &mut usize,
    ) -> PyResult<Option<Text>> {
        if let Some(found) = self.known[which].get(raw) {
            return Ok(Some(found.clone()));
        }
        let ask = [&self.resource, &self.user][which].bind(py);
        let Ok(said) = ask.call1((PyBytes::new(py, raw.as_bytes()),)) else { return Ok(None) };
        let Ok(canonical) = said.extract::<String>() else { return Ok(None) };
        let canonical: Text = canonical.into();
        if raw.len() <= CACHED_BYTES {
            *size += raw.len() + canonical.len() + 200;
            self.known[which].insert(raw.into(), canonical.clone());
        }
        Ok(Some(canonical))
    }
}
