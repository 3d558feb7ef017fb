//! Which lifecycle events of a Measure body say that a screen appeared, and which screen.

use super::blocks::{Member, text_of};

const CONTAINER_OF_FRAGMENTS: &str = "NavHostFragment";

/// Whether an event says that the screen of its `class_name` appeared.
pub fn appeared(type_: &str, fields: &[Member]) -> bool {
    let word = match type_ {
        "lifecycle_activity" | "lifecycle_fragment" => "resumed",
        "lifecycle_view_controller" => "viewDidAppear",
        "lifecycle_swift_ui" => "on_appear",
        _ => return false,
    };
    if text_of(fields, "type") != Some(word) {
        return false;
    }
    let Some(name) = text_of(fields, "class_name").filter(|name| !name.is_empty()) else {
        return false;
    };
    match type_ {
        "lifecycle_view_controller" => !is_of_the_system(name),
        "lifecycle_fragment" => !is_container(name) && is_outermost(fields),
        _ => true,
    }
}

/// Whether a name is all `UI`, maybe behind a `_`, and a capital letter, and then letters, digits and `_`.
fn is_of_the_system(name: &str) -> bool {
    let Some(rest) = name.strip_prefix('_').unwrap_or(name).strip_prefix("UI") else {
        return false;
    };
    rest.starts_with(|first: char| first.is_ascii_uppercase())
        && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether a fragment is the screen, and no part of one that another fragment is.
fn is_outermost(fields: &[Member]) -> bool {
    text_of(fields, "parent_fragment").is_none_or(|parent| parent.is_empty() || is_container(parent))
}

fn is_container(class_name: &str) -> bool {
    class_name.rsplit('.').next() == Some(CONTAINER_OF_FRAGMENTS)
}
