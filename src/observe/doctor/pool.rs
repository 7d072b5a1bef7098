//! The storage pool of the context.

use super::{Report, autostart, remedy};
use crate::libvirt::Host;
use crate::observe::World;

pub(super) fn pool(report: &mut Report, world: &World, host: &Host) {
    const SCARCE: u64 = 5 << 30;
    let name = &world.settings().pool;
    let found = host.pool(name);
    let pool = match found {
        Ok(pool) => pool,
        Err(e) => {
            let remedy = remedy(&e);
            return report.failed("pool", format!("storage pool {name:?}: {e}"), &remedy);
        }
    };
    match pool.is_active() {
        Ok(true) => {}
        _ => {
            return report.failed(
                "pool",
                format!("storage pool {name:?} is not active"),
                "kvmctl setup",
            );
        }
    }
    match pool.info() {
        Ok(info) if info.available < SCARCE => report.warning(
            "pool",
            format!(
                "storage pool {name:?} has only {} MiB free",
                info.available >> 20
            ),
            "kvmctl images prune",
        ),
        Ok(info) => report.ok(
            "pool",
            format!(
                "storage pool {name:?} is active, {} GiB free",
                info.available >> 30
            ),
        ),
        Err(e) => report.failed("pool", e.to_string(), "kvmctl setup"),
    }
    let starts = pool.autostart().ok();
    autostart(
        report,
        "pool-autostart",
        &format!("storage pool {name:?}"),
        starts,
    );
}
