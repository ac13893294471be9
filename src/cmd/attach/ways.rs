//! The ways to the collectors, as far as they concern an interface that is about to be mirrored.

use crate::kernel::collector;
use crate::kernel::instance::Instance;
use crate::kernel::netlink::Link;
use crate::model::Result;

/// Refuses interfaces that may carry the copies of others again, hidden in a VPN. Those that are attached have been allowed.
pub(in crate::cmd) fn check_underlay(instance: &Instance, links: &[Link], force: bool) -> Result<()> {
    if force {
        return Ok(());
    }
    let fresh: Vec<Link> = links.iter().filter(|link| !instance.is_attached(link.ifindex)).cloned().collect();
    collector::check_underlay(instance.netlink(), instance.peers()?.iter().flatten(), &fresh)
}

/// What the ways are too small for.
pub(super) fn warnings(instance: &Instance, links: &[Link]) -> Vec<String> {
    let mut warnings = Vec::new();
    for peer in instance.peers().iter().flatten().flatten() {
        if let Ok(Some(path)) = collector::path_to(instance.netlink(), peer) {
            warnings.extend(links.iter().filter_map(|link| path.too_small_for(peer, link)));
        }
    }
    warnings
}
