//! An instance: the datapath of one network namespace, its pins and its devices.

use std::cell::Cell;
use std::mem::offset_of;
use std::os::fd::AsFd;

use super::abi::{Config, Control, Iface, IfaceStats, Loss, Meta, Pod, RawPeer, RawPeerStats, SCHEMA, ebm_active};
use super::hooks::{self, tc, tcx};
use super::load;
use super::maps::{CpuTable, Grace, MappedTable, Table};
use super::netlink::Netlink;
use super::pins::{Access, Lock, Place};
use super::programs;
use super::rules::RuleCounters;
use super::stage::{self, Stage};
use crate::model::interface::{Direction, Mode, ModeChoice, Order};
use crate::model::{Code, Error, Result};

/// The map that is pinned last: an instance without it was never finished.
pub(super) const LAST_PIN: &str = "ebm_meta";
/// Its name until then.
pub(super) const UNFINISHED_PIN: &str = "unfinished_meta";
const LINK_STAGE: &str = "link_stage";
const LINK_EXACT: &str = "link_exact";
const LINK_LAYER3: &str = "link_layer3";
/// The links of the stage's own programs.
const STAGE_LINKS: [&str; 3] = [LINK_STAGE, LINK_EXACT, LINK_LAYER3];

/// How an instance was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// There was none: it has just been made.
    Made,
    /// Something of it was missing, and has been put right.
    Mended,
    /// All of it was there.
    Whole,
}

/// An open instance; locked as long as this lives.
pub struct Instance {
    pub(super) place: Place,
    pub(super) control: MappedTable<Control>,
    pub(super) meta: Table<Meta>,
    pub(super) config: Table<Config>,
    pub(super) peers: Table<RawPeer>,
    pub(super) ifaces: MappedTable<Iface>,
    pub(super) if_stats: CpuTable<IfaceStats>,
    pub(super) peer_stats: CpuTable<RawPeerStats>,
    pub(super) if_base: Table<IfaceStats>,
    pub(super) peer_base: Table<RawPeerStats>,
    pub(super) losses: CpuTable<Loss>,
    pub(super) rule_counters: RuleCounters,
    pub(super) grace: Grace,
    pub(super) netlink: Netlink,
    /// A tap may still count for an interface whose slot is free.
    pub(super) slots_in_doubt: Cell<bool>,
    _lock: Lock,
}

impl Instance {
    /// The instance of this place. None when there is none.
    pub fn open(place: &Place, access: Access) -> Result<Option<Self>> {
        match place.lock(access)? {
            Some(lock) if is_finished(place) => Self::open_locked(place, lock).map(Some),
            _ => Ok(None),
        }
    }

    /// The instance of this place, mended where others undid something, to be changed. None when there is none.
    pub fn open_mended(place: &Place) -> Result<Option<Self>> {
        let Some(instance) = Self::open(place, Access::Write)? else { return Ok(None) };
        instance.mend(ModeChoice::Auto)?;
        Ok(Some(instance))
    }

    /// The instance of this place, to be changed; made when there is none, mended where others undid something.
    pub fn open_or_create(place: &Place, choice: ModeChoice) -> Result<(Self, Found)> {
        let lock = place.create_and_lock()?;
        let fresh = !is_finished(place);
        if fresh {
            create(place, choice).inspect_err(|_| {
                // The first error is the one to tell.
                let _ = place.remove();
            })?;
        }
        let opened = Self::open_locked(place, lock).and_then(|instance| Ok((instance.mend(choice)?, instance)));
        let (mended, instance) = opened.inspect_err(|_| {
            if fresh {
                // The first error is the one to tell.
                let _ = remove_made(place);
            }
        })?;
        let found = match (fresh, mended) {
            (true, _) => Found::Made,
            (false, true) => Found::Mended,
            (false, false) => Found::Whole,
        };
        Ok((instance, found))
    }

    fn open_locked(place: &Place, lock: Lock) -> Result<Self> {
        let meta: Table<Meta> = Table::open(&place.pin("ebm_meta"))?;
        let found = meta.get(0)?;
        if found.schema != SCHEMA {
            let message = format!(
                "{} is of schema {}, and this ebmirror {} understands {SCHEMA}",
                place.dir().display(),
                found.schema,
                env!("CARGO_PKG_VERSION")
            );
            return Err(Error::new(Code::Damaged, message).hint("use the version that made it, or unpin --force"));
        }
        Ok(Instance {
            control: MappedTable::open(&place.pin("ebm_control"))?,
            config: Table::open(&place.pin("ebm_config"))?,
            peers: Table::open(&place.pin("ebm_peers"))?,
            ifaces: MappedTable::open(&place.pin("ebm_ifaces"))?,
            if_stats: CpuTable::open(&place.pin("ebm_if_stats"))?,
            peer_stats: CpuTable::open(&place.pin("ebm_peer_stats"))?,
            if_base: Table::open(&place.pin("ebm_if_base"))?,
            peer_base: Table::open(&place.pin("ebm_peer_base"))?,
            losses: CpuTable::open(&place.pin("ebm_losses"))?,
            rule_counters: RuleCounters::open(place)?,
            grace: Grace::open(&place.pin("ebm_grace"), &place.pin("ebm_grace_inner"))?,
            netlink: open_netlink()?,
            slots_in_doubt: Cell::new(true),
            place: place.clone(),
            meta,
            _lock: lock,
        })
    }

    /// The notes of the instance.
    pub fn meta(&self) -> Result<Meta> {
        self.meta.get(0)
    }

    pub(super) fn set_meta(&self, meta: &Meta) -> Result<()> {
        self.meta.set(0, meta)
    }

    /// The hook of the stage's programs.
    pub fn stage_mode(&self) -> Result<Mode> {
        Ok(if self.meta()?.tc_mode == 1 { Mode::Tc } else { Mode::Tcx })
    }

    /// The netlink socket of the instance's namespace.
    pub fn netlink(&self) -> &Netlink {
        &self.netlink
    }

    pub(super) fn generation(&self) -> u32 {
        self.control.get(0).active & ebm_active::EBM_ACTIVE_GENERATION.0
    }

    pub(super) fn bank(&self) -> u32 {
        u32::from(self.control.get(0).active & ebm_active::EBM_ACTIVE_BANK.0 != 0)
    }

    pub(super) fn activate(&self, generation: u32, bank: u32) {
        let bank = if bank == 1 { ebm_active::EBM_ACTIVE_BANK.0 } else { 0 };
        self.control.store_u32(0, offset_of!(Control, active), generation | bank);
    }

    /// The stage, when it is there, and is the one that the taps clone to.
    pub fn stage(&self) -> Result<Option<Stage>> {
        let stage = stage::find(&self.netlink)?;
        Ok(stage.filter(|stage| stage.bridge == self.control.get(0).stage_ifindex))
    }

    /// Whether the stage's own programs are where they belong. The one that is attached nowhere must be pinned.
    pub fn stage_is_attached(&self, stage: Stage) -> Result<bool> {
        load::program(&self.place, super::probe::PROGRAM)?;
        Ok(self.is_attached_at(stage.bridge, "ebm_stage")? && self.is_attached_at(stage.port, "ebm_exact")?)
    }

    /// Gives up the lock, and goes on looking whether peers and rules stay as they are.
    pub fn watch(self) -> Result<Watch> {
        let state = state(&self.control, &self.config, &self.meta)?;
        Ok(Watch { control: self.control, config: self.config, meta: self.meta, state })
    }

    fn is_attached_at(&self, ifindex: u32, name: &str) -> Result<bool> {
        let id = hooks::id(load::program(&self.place, name)?.as_fd())?;
        let attached = hooks::programs(&self.netlink, ifindex, Direction::Egress)?;
        Ok(attached.iter().any(|program| program.id == id))
    }

    /// Whether the device for packets without an Ethernet header, if it was ever needed, is there with its program.
    pub fn layer3_is_whole(&self) -> Result<bool> {
        match self.control.get(0).layer3_ifindex {
            // It will be needed there.
            0 => load::program(&self.place, "ebm_layer3").map(|_| true),
            ifindex => {
                Ok(stage::find_layer3(&self.netlink)? == Some(ifindex) && self.is_attached_at(ifindex, "ebm_layer3")?)
            }
        }
    }

    /// Sees to the device for packets without an Ethernet header.
    pub(super) fn ensure_layer3(&self) -> Result<()> {
        if self.control.get(0).layer3_ifindex != 0 && self.layer3_is_whole()? {
            return Ok(());
        }
        detach_link(&self.place.pin(LINK_LAYER3))?;
        let ifindex = stage::create_layer3(&self.netlink)?;
        let at = (ifindex, "ebm_layer3", LINK_LAYER3);
        attach_program(&self.place, &self.netlink, at, self.stage_mode()?).inspect_err(|_| {
            // The first error is the one to tell.
            let _ = self.netlink.delete(ifindex);
        })?;
        self.control.store_u32(0, offset_of!(Control, layer3_ifindex), ifindex);
        Ok(())
    }

    /// Puts right what others may have undone since the last command: the stage's devices, its programs, its settings;
    /// and puts this binary's programs in the place of another version's. True when there was something.
    fn mend(&self, choice: ModeChoice) -> Result<bool> {
        let missing = load::PROGRAMS.iter().any(|name| !self.place.pin(name).exists());
        let other_version = self.meta()?.build != load::build() || missing;
        if other_version {
            self.upgrade(choice)?;
            // Another version may read the same rules in another way.
            self.compile_rules_again()?;
            // With the versions that this has used up.
            self.set_meta(&Meta { build: load::build(), ..self.meta()? })?;
        }
        let stage = self.stage()?;
        let stage_is_whole = match stage {
            Some(stage) => self.stage_is_attached(stage)?,
            None => false,
        };
        if stage_is_whole && self.layer3_is_whole()? {
            let mended = stage::mend(&self.netlink)?;
            return Ok(self.restart_taps()? || mended || other_version);
        }
        if !stage_is_whole {
            detach_links(&self.place)?;
            stage::remove(&self.netlink)?;
            let stage = stage::create(&self.netlink)?;
            attach_stage(&self.place, &self.netlink, stage, self.stage_mode()?)?;
            self.control.store_u32(0, offset_of!(Control, stage_ifindex), stage.bridge);
        }
        if self.control.get(0).layer3_ifindex != 0 {
            self.ensure_layer3()?;
        }
        stage::mend(&self.netlink)?;
        // Taps that still run with an old number would stop again.
        self.grace.wait()?;
        self.restart_taps()?;
        Ok(true)
    }

    /// Swaps the programs at all hooks in place. The maps stay. Whoever died in the middle of it left hooks with either
    /// program, both of which work with these maps; the next one swaps them all again.
    fn upgrade(&self, choice: ModeChoice) -> Result<()> {
        load::load(&self.place, choice)?;
        let swap = |ifindex: u32, direction: Direction, name: &str, link: &std::path::Path| -> Result<()> {
            let program = load::program(&self.place, name)?;
            match programs::open_pin(link)? {
                Some(link) => tcx::replace(link.as_fd(), program.as_fd())
                    .map_err(|error| Error::io(format!("replace the program {name}"), &error)),
                None => tc::replace(&self.netlink, ifindex, direction, program.as_fd(), name),
            }
        };
        for (_, iface) in self.interfaces()? {
            for direction in Direction::ALL {
                let link = self.place.link(iface.ifindex, direction);
                swap(iface.ifindex, direction, load::tap(direction), &link)?;
            }
        }
        if let Some(stage) = self.stage()? {
            swap(stage.bridge, Direction::Egress, "ebm_stage", &self.place.pin(LINK_STAGE))?;
            swap(stage.port, Direction::Egress, "ebm_exact", &self.place.pin(LINK_EXACT))?;
        }
        if let Some(ifindex) = stage::find_layer3(&self.netlink)? {
            swap(ifindex, Direction::Egress, "ebm_layer3", &self.place.pin(LINK_LAYER3))?;
        }
        Ok(())
    }

    /// Removes everything: the instance must have been detached from all interfaces.
    pub fn remove(self) -> Result<()> {
        // Devices first: with their pins gone nobody would know whose they are.
        detach_links(&self.place)?;
        stage::remove(&self.netlink)?;
        self.place.remove()
    }
}

/// An instance whose lock others may have.
pub struct Watch {
    control: MappedTable<Control>,
    config: Table<Config>,
    meta: Table<Meta>,
    state: Vec<u8>,
}

impl Watch {
    /// Whether peers and rules are those from the beginning.
    pub fn is_unchanged(&self) -> Result<bool> {
        Ok(state(&self.control, &self.config, &self.meta)? == self.state)
    }
}

/// What differs after every change of peers or rules: the generation, its configuration, the versions that were given.
fn state(control: &MappedTable<Control>, config: &Table<Config>, meta: &Table<Meta>) -> Result<Vec<u8>> {
    let generation = control.get(0).active & ebm_active::EBM_ACTIVE_GENERATION.0;
    Ok([&generation.to_ne_bytes(), config.get(generation)?.bytes(), meta.get(0)?.bytes()].concat())
}

/// Whether an instance lost its pins and left something. One that is in use below another root did not.
pub fn has_leftovers(place: &Place) -> bool {
    sweep(place, true).is_ok_and(|found| !found.is_empty())
}

/// Removes what an instance left behind that is damaged or has lost its pins: the stage's devices, taps that tc filters
/// still hold, pins. What it found.
pub fn sweep(place: &Place, dry_run: bool) -> Result<Vec<String>> {
    let _lock = place.lock(Access::Write)?;
    if let Some(other) = place.other()? {
        return Err(Error::new(Code::Conflict, format!("the instance in {} is in use", other.display()))
            .hint(format!("remove that one: --root {}", other.parent().unwrap_or(&other).display())));
    }
    let netlink = open_netlink()?;
    let mut found = Vec::new();
    if place.dir().exists() {
        found.push(place.dir().display().to_string());
        if !dry_run {
            // A link whose last pin is gone detaches, but some time later.
            for name in place.names()?.iter().filter(|name| name.starts_with("link_")) {
                detach_link(&place.pin(name))?;
            }
            place.remove()?;
        }
    }
    for link in netlink.links().map_err(|error| error.context("list the devices"))? {
        for direction in Direction::ALL {
            for program in hooks::programs(&netlink, link.ifindex, direction)? {
                if program.name != load::tap(direction) {
                    continue;
                }
                if program.mode == Mode::Tcx && !dry_run {
                    return Err(Error::new(Code::Conflict, format!("{}: a tap is held by somebody else", link.name))
                        .hint("an instance in another bpffs, or a process with the link open: bpftool link show"));
                }
                found.push(format!("{} {direction} {}", link.name, program.place));
                if !dry_run && program.mode == Mode::Tc {
                    tc::detach(&netlink, link.ifindex, direction, load::tap(direction))?;
                }
            }
        }
        if stage::is_ours(&link) {
            found.push(link.name);
        }
    }
    if !dry_run {
        stage::remove(&netlink)?;
    }
    Ok(found)
}

/// A netlink socket in the calling thread's namespace.
pub fn open_netlink() -> Result<Netlink> {
    Netlink::open().map_err(|error| error.context("open a netlink socket"))
}

fn is_finished(place: &Place) -> bool {
    place.pin(LAST_PIN).exists()
}

/// Removes an instance that was made a moment ago and has nothing attached.
fn remove_made(place: &Place) -> Result<()> {
    let _lock = place.lock(Access::Write)?;
    let is_tap = |name: &String| name.starts_with("link_") && !STAGE_LINKS.contains(&name.as_str());
    if place.names()?.iter().any(is_tap) {
        // Somebody was faster, and uses it.
        return Ok(());
    }
    detach_links(place)?;
    stage::remove(&open_netlink()?)?;
    place.remove()
}

/// Takes away what a command left that died while it made the instance: it is in this directory, so it is ours.
fn remove_unfinished(place: &Place, netlink: &Netlink) -> Result<()> {
    detach_links(place)?;
    for (device, name) in [(stage::BRIDGE, "ebm_stage"), (stage::PORT, "ebm_exact")] {
        let link = netlink.link_by_name(device).map_err(|error| error.context(&format!("look for {device}")))?;
        if let (Some(link), true) = (link, place.pin(name).exists()) {
            tc::detach(netlink, link.ifindex, Direction::Egress, name)?;
        }
    }
    for name in place.names()? {
        programs::unpin(&place.pin(&name))?;
    }
    Ok(())
}

/// Makes an instance. What an unfinished one left behind is removed before.
fn create(place: &Place, choice: ModeChoice) -> Result<()> {
    let netlink = open_netlink()?;
    remove_unfinished(place, &netlink)?;
    stage::check_free(&netlink)?;
    let mode = load::load(place, choice)?;
    let stage = stage::create(&netlink)?;
    let finish = || -> Result<()> {
        attach_stage(place, &netlink, stage, mode)?;
        let control: MappedTable<Control> = MappedTable::open(&place.pin("ebm_control"))?;
        control.set(0, &Control { active: 0, mark: random_mark()?, stage_ifindex: stage.bridge, layer3_ifindex: 0 });
        // Complete: pinning the notes is what makes it an instance.
        let meta: Table<Meta> = Table::open(&place.pin(UNFINISHED_PIN))?;
        meta.set(0, &load::new_meta(place, mode))?;
        let from = place.pin(UNFINISHED_PIN);
        std::fs::rename(&from, place.pin(LAST_PIN)).map_err(|error| Error::io("pin the instance's notes", &error))
    };
    finish().inspect_err(|_| {
        let _ = stage::remove(&netlink);
    })
}

fn attach_stage(place: &Place, netlink: &Netlink, stage: Stage, mode: Mode) -> Result<()> {
    [(stage.bridge, "ebm_stage", LINK_STAGE), (stage.port, "ebm_exact", LINK_EXACT)]
        .into_iter()
        .try_for_each(|at| attach_program(place, netlink, at, mode))
}

/// Attaches one of the stage's own programs: where, which, and the pin of its link.
fn attach_program(place: &Place, netlink: &Netlink, at: (u32, &str, &str), mode: Mode) -> Result<()> {
    let (ifindex, name, link) = at;
    let program = load::program(place, name)?;
    match mode {
        Mode::Tcx => {
            let fd = tcx::link(program.as_fd(), ifindex, Direction::Egress, None)
                .map_err(|error| Error::io(format!("attach {name}"), &error))?;
            programs::unpin(&place.pin(link))?;
            programs::pin(fd.as_fd(), &place.pin(link))
        }
        Mode::Tc => {
            tc::ensure_clsact(netlink, ifindex, name)?;
            tc::attach(netlink, ifindex, Direction::Egress, Order::First, program.as_fd(), name)
        }
    }
}

/// Detaches the stage's own programs, those that links hold.
fn detach_links(place: &Place) -> Result<()> {
    STAGE_LINKS.into_iter().try_for_each(|name| detach_link(&place.pin(name)).map(drop))
}

/// Detaches a pinned link and removes the pin. True when there was one.
pub(super) fn detach_link(path: &std::path::Path) -> Result<bool> {
    let Some(link) = programs::open_pin(path)? else {
        return Ok(false);
    };
    tcx::detach(link.as_fd()).map_err(|error| Error::io(format!("detach {}", path.display()), &error))?;
    programs::unpin(path)?;
    Ok(true)
}

/// Bits of marks that kube-proxy acts upon: it would drop, or give another source, what carries them.
const FOREIGN_MARKS: u32 = 0xc000;

/// The mark of the copies: any value but 0, and none that looks like a small number somebody uses.
fn random_mark() -> Result<u32> {
    let mut bytes = [0; 4];
    load::random(&mut bytes)?;
    Ok((u32::from_ne_bytes(bytes) & !FOREIGN_MARKS) | 0x8000_0000)
}
