//! What can be found wrong before anything is connected.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::plan::Plan;
use crate::event::Kind;
use crate::handler::{HandlerDefinition, Requirements};

pub(super) fn declarations(plan: &Plan) -> Vec<String> {
    let handlers = &plan.handlers;
    let mut found = Vec::new();
    if handlers.is_empty() {
        found.push(
            "it has no handlers: write a `#[handler(event = \"…\")]` function, or list some with `App::handlers(handlers![…])`"
                .to_owned(),
        );
    }
    found.extend(missing_states(plan));
    found.extend(inboxes(plan));
    found.extend(same_names(&plan.app.name, handlers));
    found.extend(shared_commands(handlers));
    found.extend(unknown_default_types(plan));
    found.extend(handlers.iter().filter(|handler| handler.kind == Kind::Domain).map(|handler| {
        format!(
            "{} takes `{}`, a domain event, which never reaches Kafka: make it `kind = integration`",
            place(handler),
            handler.event_type
        )
    }));
    if plan.dedup.is_none() {
        found.extend(handlers.iter().find(|handler| handler.policy.dedup.is_some()).map(|handler| {
            format!(
                "{} asks for dedup, and there is no store: set `redis_url`, or give one with `App::dedup(MemoryDedup::new())`",
                place(handler)
            )
        }));
    }
    found
}

fn place(handler: &HandlerDefinition) -> String {
    let (file, line) = handler.location;
    format!("handler `{}` ({file}:{line})", handler.name)
}

fn missing_states(plan: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    for handler in &plan.handlers {
        let mut requirements = Requirements::default();
        (handler.requirements)(&mut requirements);
        let mut seen = HashSet::new();
        for (id, name) in requirements.states {
            if !plan.app.states.contains_key(&id) && seen.insert(id) {
                found.push(format!(
                    "{} needs a state `{name}`: give it with `App::state(…)`",
                    place(handler)
                ));
            }
        }
    }
    found
}

/// Handlers with `inbox` need one, in the database of their transactions.
fn inboxes(plan: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    for handler in plan.handlers.iter().filter(|handler| handler.inbox) {
        let Some(inbox) = &plan.app.inbox else {
            found.push(format!(
                "{} takes effect through the inbox, and there is none: give it with `App::inbox(…)`",
                place(handler)
            ));
            continue;
        };
        let (inbox, inbox_name) = inbox.database();
        let mut requirements = Requirements::default();
        (handler.requirements)(&mut requirements);
        for (database, name) in requirements.databases {
            if database != inbox {
                found.push(format!(
                    "{} takes a `Tx<{name}>`, and the App's inbox is in a `{inbox_name}`",
                    place(handler)
                ));
            }
        }
    }
    found
}

fn same_names(app: &str, handlers: &[HandlerDefinition]) -> Vec<String> {
    let mut named: BTreeMap<(&str, &str), Vec<&HandlerDefinition>> = BTreeMap::new();
    for handler in handlers {
        let group = handler.policy.group.unwrap_or(app);
        named
            .entry((group, handler.name))
            .or_default()
            .push(handler);
    }
    named
        .into_iter()
        .filter(|(_, same)| same.len() > 1)
        .map(|((group, name), same)| {
            let places: Vec<String> = same.iter().map(|handler| place(handler)).collect();
            format!(
                "{} handlers in group `{group}` are named `{name}`, and dedup and dead letters go by the name: {}; give one `name = \"…\"`",
                same.len(),
                places.join(", ")
            )
        })
        .collect()
}

fn shared_commands(handlers: &[HandlerDefinition]) -> Vec<String> {
    let mut takers: BTreeMap<&str, Vec<&HandlerDefinition>> = BTreeMap::new();
    for handler in handlers
        .iter()
        .filter(|handler| handler.kind == Kind::Command)
    {
        takers.entry(handler.event_type).or_default().push(handler);
    }
    takers
        .into_iter()
        .filter(|(_, takers)| takers.len() > 1)
        .map(|(command, takers)| {
            let places: Vec<String> = takers.iter().map(|handler| place(handler)).collect();
            format!(
                "command `{command}` must have one handler and has {}: {}",
                takers.len(),
                places.join(", ")
            )
        })
        .collect()
}

/// A default that nobody takes would pass a topic's records over in silence.
fn unknown_default_types(plan: &Plan) -> Vec<String> {
    let mut taken: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for handler in &plan.handlers {
        let types = taken.entry(handler.topic).or_default();
        types.insert(handler.event_type);
    }
    let defaults = plan.app.default_types.iter();
    defaults
        .filter_map(|(topic, event_type)| match taken.get(topic.as_str()) {
            None => Some(format!(
                "`App::default_type` names topic `{topic}`, which no handler listens to; there is {}",
                listed(taken.keys())
            )),
            Some(types) if !types.contains(event_type.as_str()) => Some(format!(
                "`App::default_type` names type `{event_type}` for topic `{topic}`, which no handler takes from it; there is {}",
                listed(types)
            )),
            Some(_) => None,
        })
        .collect()
}

fn listed<'a>(names: impl IntoIterator<Item = &'a &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
