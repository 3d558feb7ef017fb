//! Texts that repeat from event to event: what events that are encoded refer to by numbers.

use hashbrown::HashMap;

use super::msgpack::DAMAGED;
use crate::domain::Text;
use crate::unsure::Sure;

/// Up to so many texts are found one by one.
const FEW_TEXTS: usize = 24;

/// A text as one of the `likely` ones, if it is one of these: to take memory for it takes longer.
pub fn shared(text: &str, likely: [&Text; 4]) -> Text {
    likely.into_iter().find(|each| &***each == text).map_or_else(|| text.into(), Text::clone)
}

/// Texts that repeat from event to event, each under the number by which encoded events refer to it.
#[derive(Clone, Debug, Default)]
pub struct Strings {
    texts: Vec<Text>,
    /// Of more than a few.
    numbers: HashMap<Text, usize>,
    /// Characters of all of them.
    pub chars: usize,
}

impl Strings {
    pub fn number(&mut self, text: &Text) -> i64 {
        self.found(text).unwrap_or_else(|| self.add(text.clone())) as i64
    }

    /// Decoded texts, in the order of their numbers: one that is there already has two.
    pub fn add_new(&mut self, text: Text) -> Sure<()> {
        if self.found(&text).is_some() {
            return Err(DAMAGED);
        }
        self.add(text);
        Ok(())
    }

    pub fn at(&self, number: usize) -> Sure<Text> {
        self.texts.get(number).cloned().ok_or(DAMAGED)
    }

    pub fn texts(&self) -> &[Text] {
        &self.texts
    }

    fn found(&self, text: &Text) -> Option<usize> {
        if self.texts.len() > FEW_TEXTS {
            return self.numbers.get(text).copied();
        }
        let is_it = |each: &Text| std::sync::Arc::ptr_eq(each, text) || each == text;
        self.texts.iter().position(is_it)
    }

    fn add(&mut self, text: Text) -> usize {
        self.chars += if text.is_ascii() { text.len() } else { text.chars().count() };
        let number = self.texts.len();
        self.texts.push(text.clone());
        if number == FEW_TEXTS {
            self.numbers = self.texts.iter().cloned().zip(0..).collect();
        } else if number > FEW_TEXTS {
            self.numbers.insert(text, number);
        }
        number
    }
}
