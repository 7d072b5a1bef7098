//! The serial console on the caller's terminal.

use super::running;
use crate::api::ObjectKey;
use crate::error::{Error, Result};
use crate::host::Terminal;
use crate::libvirt::ConsoleStream;
use crate::observe::World;

/// A console that is open.
#[derive(Debug)]
pub struct Console {
    stream: ConsoleStream,
}

/// Opens the serial console.
///
/// # Errors
/// Usage without a terminal; a conflict when the guest is off or somebody else has the console.
pub fn open_console(world: &World, key: &ObjectKey, force: bool) -> Result<Console> {
    // Before it is taken from somebody else.
    if !Terminal::is_there() {
        let logs = format!("kvmctl logs {} -f", key.name);
        return Err(Error::usage("the console needs a terminal").hint(logs));
    }
    let domain = running(world, key)?;
    let stream = domain
        .open_console(world.host()?, force)
        .map_err(|e| Error::from(e).hint(format!("kvmctl console {} --force", key.name)))?;
    Ok(Console { stream })
}

impl Console {
    /// Connects the caller's terminal until Ctrl-] or the console's end.
    ///
    /// # Errors
    /// When there is no terminal or the connection breaks.
    pub fn run(self) -> Result<()> {
        // Kept here and not by the thread: it must be put back also when the guest ends first.
        let _terminal = Terminal::raw()
            .map_err(|e| Error::usage("the console needs a terminal").caused_by(e))?;
        let input = self.stream.clone();
        std::thread::spawn(move || {
            // A broken pipe is no news: the other direction ends too.
            let _ = Terminal::read_until_escape(|bytes| input.send(bytes).is_ok());
            input.close();
        });
        Terminal::copy_out(|| self.stream.receive().ok().filter(|b| !b.is_empty()))
            .map_err(|e| Error::failed("the console broke").caused_by(e))
    }
}
