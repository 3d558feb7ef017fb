//! The fold where versions of a policy follow one another: each event under the one that holds at its time.

use super::event::Event;
use super::fold::step_all;
use super::fold_state::FoldState;
use super::policy::Policy;
use super::session::Session;

/// `step_all` for the next events of the order, each under the policy of its time.
pub fn fold(state: &mut FoldState, events: &[Event], policy: &Policy, left: &mut Vec<Session>) {
    let mut events = events;
    if let (Some(dated), Some(first)) = (&policy.dated, events.first())
        && first.time_ms < dated.from_ms
    {
        let at = events.partition_point(|event| event.time_ms < dated.from_ms);
        fold(state, &events[..at], &dated.before, left);
        events = &events[at..];
    }
    step_all(state, events, policy, left);
}
