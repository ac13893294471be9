//! A change of the rules: read, edited, compiled, committed; or, in a dry run, compiled alone.

use crate::classifier::compile::{CompileError, interfaces, no_interface};
use crate::cmd::Ctx;
use crate::kernel::instance::{Found, Instance, open_netlink};
use crate::kernel::netlink::Link;
use crate::kernel::peers::Slots;
use crate::kernel::pins::Access;
use crate::kernel::rules::{Rules, is_target, no_target};
use crate::kernel::stage;
use crate::model::interface::ModeChoice;
use crate::model::rule::{RuleId, RuleSet};
use crate::model::{Error, Result};

use super::options::Parts;

/// What rules refer to.
pub(super) struct Host {
    peers: Slots,
    devices: Vec<Link>,
}

impl Host {
    /// Refuses parts that name what is not there.
    pub(super) fn check(&self, parts: &Parts) -> Result<()> {
        if let Some(name) = parts.to.iter().flatten().find(|name| !is_target(&self.peers, name)) {
            return Err(no_target(name));
        }
        let known = |name: &str| self.devices.iter().any(|link| link.name == name);
        let names = parts.expression.as_ref().map(interfaces).unwrap_or_default();
        match names.into_iter().find(|name| !known(name.as_str())) {
            Some(name) => Err(no_interface(name)),
            None => Ok(()),
        }
    }
}

/// What an edit did.
pub(super) struct Edited<T> {
    pub(super) value: T,
    pub(super) changed: bool,
    pub(super) rules: RuleSet,
}

/// Makes an edit. `create`: where there is no instance one is made. `blame` puts the place into an error of a rule that the
/// edit added or changed.
pub(super) fn edit<T>(
    ctx: &Ctx,
    create: bool,
    edit: impl FnOnce(&mut RuleSet, &Host) -> Result<T>,
    blame: impl FnOnce(RuleId, Error) -> Error,
) -> Result<Edited<T>> {
    let netlink = open_netlink()?;
    let devices = netlink.links().map_err(|error| error.context("list the devices"))?;
    let (instance, found) = match (ctx.dry_run, create) {
        (true, _) => (Instance::open(&ctx.place, Access::Read)?, Found::Whole),
        (false, false) => (Instance::open_mended(&ctx.place)?, Found::Whole),
        (false, true) => {
            let (instance, found) = Instance::open_or_create(&ctx.place, ModeChoice::Auto)?;
            (Some(instance), found)
        }
    };
    if instance.is_none() && create {
        stage::check_free(&netlink)?;
    }
    let make = || -> Result<Edited<T>> {
        let (old, peers) = match &instance {
            Some(instance) => (instance.rules()?, instance.peers()?),
            None => (Rules::default(), [const { None }; _]),
        };
        let mut set = old.set.clone();
        let value = edit(&mut set, &Host { peers, devices: devices.clone() })?;
        set.sort();
        let changed = set != old.set;
        if changed {
            let change = old.change(set.clone(), &devices).map_err(|found| match found {
                CompileError { rule: Some(id), error } => blame(id, error),
                CompileError { rule: None, error } => error,
            })?;
            if let Some(instance) = instance.as_ref().filter(|_| !ctx.dry_run) {
                instance.replace_rules(&change)?;
            }
        }
        Ok(Edited { value, changed, rules: set })
    };
    let made = make();
    if let (Err(_), Found::Made, Some(instance)) = (&made, found, instance) {
        // The first error is the one to tell.
        let _ = instance.remove();
    }
    made
}

/// The error of a rule, with its number before it.
pub(super) fn of_rule(id: RuleId, error: Error) -> Error {
    CompileError { rule: Some(id), error }.into()
}
