//! Decides who may ask for what. Pure.

use holdfast_config::Requester;
use holdfast_events::{Refusal, Trigger};
use holdfast_format::{AskedBy, BusUser, Expected};

/// The length limit of a person's name in a request, in bytes.
const PERSON_MAX: usize = 100;

/// Checks a request against the rights of its user. `rights` is `None` for a user who may ask for nothing.
///
/// # Errors
/// [`Refusal::NotAllowed`] with the first limit that the request goes beyond.
pub(crate) fn check(trigger: &Trigger, user: &BusUser, rights: Option<&Requester>) -> Result<(), Refusal> {
    let Some(rights) = rights else {
        return refuse(format!(
            "the user {user} may not ask for runs: name it in a [[requester]] of the scheduler's configuration"
        ));
    };
    check_extent(trigger, rights)?;
    check_keeping(trigger, rights)?;
    if trigger.fresh && !rights.fresh {
        return refuse(format!(
            "the user {user} may not ask for captures without parents (fresh)"
        ));
    }
    if trigger.cleanup && !rights.cleanup {
        return refuse(format!("the user {user} may not ask for retention (cleanup)"));
    }
    let is_name = |name: &String| !name.is_empty() && name.len() <= PERSON_MAX && !name.chars().any(char::is_control);
    if trigger.person.as_ref().is_some_and(|name| !is_name(name)) {
        return Err(Refusal::Invalid(format!(
            "the person must have 1 to {PERSON_MAX} bytes and no control characters"
        )));
    }
    Ok(())
}

/// Checks which stacks and sources a request is for.
fn check_extent(trigger: &Trigger, rights: &Requester) -> Result<(), Refusal> {
    let user = &rights.name;
    if let Some(stack) = trigger.stack.as_ref().filter(|stack| !rights.may_ask_for_stack(stack)) {
        return refuse(format!(
            "the user {user} may not ask for the stack {stack:?}; it may ask for {}",
            listed(&rights.stacks)
        ));
    }
    if let Some(source) = trigger.sources.iter().find(|source| !rights.may_name(source)) {
        return refuse(format!(
            "the user {user} may not name the source {source}; it may name {}",
            listed(&rights.sources)
        ));
    }
    if trigger.stack.is_none() && trigger.sources.is_empty() && !rights.may_ask_for_all() {
        return refuse(format!(
            "the user {user} may not ask for everything: name one stack, or sources that it may name: {}",
            listed(&rights.sources)
        ));
    }
    Ok(())
}

/// Checks how long a request wants its run to be kept.
fn check_keeping(trigger: &Trigger, rights: &Requester) -> Result<(), Refusal> {
    let user = &rights.name;
    if let (Some(asked), Some(most)) = (trigger.hold_seconds, rights.max_hold)
        && std::time::Duration::from_secs(asked) > most.as_std()
    {
        return refuse(format!("the user {user} may not hold a run for longer than {most}"));
    }
    if let Some(class) = trigger.class.filter(|class| !rights.classes.contains(class)) {
        let may: Vec<String> = rights.classes.iter().map(ToString::to_string).collect();
        return refuse(format!(
            "the user {user} may not ask for the class {class}; it may ask for {}",
            listed(&may)
        ));
    }
    Ok(())
}

/// Checks the number of runs that a user has started within the last hour.
///
/// # Errors
/// [`Refusal::NotAllowed`] if it has reached the limit.
pub(crate) fn check_rate(user: &BusUser, limit: u32, started: u32) -> Result<(), Refusal> {
    if started < limit {
        return Ok(());
    }
    refuse(format!(
        "the user {user} has started {started} runs within an hour, and may start {limit}"
    ))
}

/// Checks that a run which is there already is the requester's own. A requester may choose the id of a run, and must not
/// be answered about another's. Schedules choose theirs by name and slot, and the operator may follow any run.
///
/// # Errors
/// [`Refusal::NotAllowed`] if the run is another's.
pub(crate) fn check_own(stands: &Expected, requester: &AskedBy) -> Result<(), Refusal> {
    if is_ours(&stands.requester, requester) {
        return Ok(());
    }
    refuse(format!(
        "run {} was asked for by another: {}",
        stands.run, stands.requester
    ))
}

/// True if the requester `asks` may be answered about a run that `stands` asked for.
fn is_ours(stands: &AskedBy, asks: &AskedBy) -> bool {
    match (asks, stands) {
        (AskedBy::User { name, .. }, _) if *name == BusUser::operator() => true,
        (AskedBy::User { name, .. }, AskedBy::User { name: other, .. }) => name == other,
        (asks, stands) => asks == stands,
    }
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}

fn refuse<T>(why: String) -> Result<T, Refusal> {
    Err(Refusal::NotAllowed(why))
}

#[cfg(test)]
mod tests;
