//! Volumes: their facts, and their bytes by stream, so that a remote host is like a local one.

use std::io::{Read, Write};

use virt::connect::Connect;
use virt::storage_vol::StorageVol as Raw;
use virt::stream::Stream;
use virt::sys;

use super::conn::{Host, call, plain};
use super::error::{Cause, LibvirtError};
use super::xml::volume::VolumeXml;

/// A volume.
#[derive(Debug, Clone)]
pub struct Volume {
    pub(super) raw: Raw,
    /// Its name.
    pub name: String,
    pub(super) conn: Connect,
}

/// A volume as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeBrief {
    /// Its name.
    pub name: String,
    /// Its path.
    pub path: String,
}

/// How large a volume is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeInfo {
    /// What a guest sees.
    pub capacity: u64,
    /// What it takes on the host.
    pub allocation: u64,
}

/// Piece that a stream is fed with: libvirt's own messages hold 4 MiB, and a quarter is as fast.
const PIECE: usize = 1 << 20;

impl Host {
    /// Looks a volume up by its path, in whichever pool it is.
    ///
    /// # Errors
    /// NotFound, also for a file that no pool knows.
    pub fn volume_by_path(&self, path: &str) -> Result<Volume, LibvirtError> {
        let path = plain("look up a volume", path)?;
        let raw = call("virStorageVolLookupByPath", "find volume", path, || {
            self.conn.lookup_storage_vol_by_path(path)
        })?;
        let reading = |e: virt::error::Error| LibvirtError::new("read a volume".to_owned(), &e);
        let name = raw.name().map_err(reading)?;
        Ok(Volume {
            raw,
            name,
            conn: self.conn.clone(),
        })
    }
}

impl Volume {
    fn ask<T>(
        &self,
        api: &'static str,
        doing: &str,
        f: impl FnOnce(&Raw) -> Result<T, virt::error::Error>,
    ) -> Result<T, LibvirtError> {
        let subject = format!("volume {:?}", self.name);
        call(api, doing, &subject, || f(&self.raw))
    }

    /// Returns its path.
    ///
    /// # Errors
    /// When it is gone.
    pub fn path(&self) -> Result<String, LibvirtError> {
        self.ask("virStorageVolGetPath", "look at", Raw::path)
    }

    /// Returns its size.
    ///
    /// # Errors
    /// When it is gone.
    pub fn info(&self) -> Result<VolumeInfo, LibvirtError> {
        let info = self.ask("virStorageVolGetInfo", "look at", Raw::info)?;
        Ok(VolumeInfo {
            capacity: info.capacity,
            allocation: info.allocation,
        })
    }

    /// Returns the length of its file in bytes, which for a raw volume is its size, whatever is
    /// written in it.
    ///
    /// # Errors
    /// When it is gone.
    pub fn length(&self) -> Result<u64, LibvirtError> {
        let physical = sys::VIR_STORAGE_VOL_GET_PHYSICAL;
        let info = self.ask("virStorageVolGetInfoFlags", "look at", |raw| {
            raw.info_flags(physical)
        });
        match info {
            Ok(info) => Ok(info.allocation),
            Err(e) if e.is_no_support() => Ok(self.info()?.capacity),
            Err(e) => Err(e),
        }
    }

    /// Returns its definition.
    ///
    /// # Errors
    /// When it is gone.
    pub fn definition(&self) -> Result<VolumeXml, LibvirtError> {
        let text = self.ask("virStorageVolGetXMLDesc", "read", |raw| raw.xml_desc(0))?;
        Ok(VolumeXml::from_xml(&text)?)
    }

    /// Returns the path of what it is an overlay of.
    ///
    /// # Errors
    /// When it is gone.
    pub fn backing_path(&self) -> Result<Option<String>, LibvirtError> {
        Ok(self.definition()?.backing_path().map(str::to_owned))
    }

    /// Deletes it.
    ///
    /// # Errors
    /// NotFound when it is gone.
    pub fn delete(&self) -> Result<(), LibvirtError> {
        self.ask("virStorageVolDelete", "delete", |raw| raw.delete(0))
    }

    /// Gives it a new size, in bytes; it must not be in use.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn resize(&self, bytes: u64) -> Result<(), LibvirtError> {
        self.ask("virStorageVolResize", "resize", |raw| raw.resize(bytes, 0))
    }

    /// Makes it smaller: what lies beyond its new end, in bytes, is lost.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn shrink(&self, bytes: u64) -> Result<(), LibvirtError> {
        self.ask("virStorageVolResize", "shrink", |raw| {
            raw.resize(bytes, sys::VIR_STORAGE_VOL_RESIZE_SHRINK)
        })
    }

    /// Makes a raw volume as large as `bytes` by writing its last byte, which looks at nothing that
    /// is in it. It must not have been larger.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn extend_raw(&self, bytes: u64) -> Result<(), LibvirtError> {
        let stream = self.stream()?;
        self.ask("virStorageVolUpload", "extend", |raw| {
            raw.upload(&stream, bytes.saturating_sub(1), 1, 0)
        })?;
        match self.send_all(&stream, &mut [0_u8].as_slice(), 1, &mut |_| true) {
            Ok(()) => stream.finish().map_err(|e| self.failed("extend", &e)),
            Err(error) => {
                let _ = stream.abort();
                Err(error)
            }
        }
    }

    /// Fills it from `source`, which holds `size` bytes. `progress` hears how many are done and ends
    /// it by returning false.
    ///
    /// # Errors
    /// When `source` fails or ends early, and what the driver refuses; the volume is then half
    /// written, and the caller's to delete.
    pub fn upload(
        &self,
        source: &mut dyn Read,
        size: u64,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), LibvirtError> {
        if size == 0 {
            return Ok(());
        }
        let stream = self.stream()?;
        self.ask("virStorageVolUpload", "upload", |raw| {
            raw.upload(&stream, 0, size, 0)
        })?;
        match self.send_all(&stream, &mut source.take(size), size, progress) {
            Ok(()) => stream.finish().map_err(|e| self.failed("upload", &e)),
            Err(error) => {
                let _ = stream.abort();
                Err(error)
            }
        }
    }

    fn send_all(
        &self,
        stream: &Stream,
        source: &mut dyn Read,
        size: u64,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), LibvirtError> {
        let doing = || format!("upload volume {:?}", self.name);
        let mut piece = vec![0; PIECE];
        let mut done = 0;
        loop {
            let read = match source.read(&mut piece) {
                Ok(read) => read,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(LibvirtError::ours(doing(), Cause::Other, e)),
            };
            if read == 0 && done < size {
                let message = format!("the source ended after {done} of {size} bytes");
                return Err(LibvirtError::ours(doing(), Cause::Other, message));
            }
            if read == 0 {
                return Ok(());
            }
            let mut rest = &piece[..read];
            while !rest.is_empty() {
                let sent = stream.send(rest).map_err(|e| self.failed("upload", &e))?;
                match usize::try_from(sent) {
                    Ok(sent) if sent > 0 => rest = rest.get(sent..).unwrap_or_default(),
                    _ => {
                        let message = "the stream takes no more";
                        return Err(LibvirtError::ours(doing(), Cause::Lost, message));
                    }
                }
            }
            done += read as u64;
            if !progress(done) {
                return Err(LibvirtError::ours(doing(), Cause::Other, "interrupted"));
            }
        }
    }

    /// Writes its bytes from `offset` on to `sink`; at most `length` of them, all for 0.
    ///
    /// # Errors
    /// What the driver refuses, or the sink.
    pub fn download(
        &self,
        sink: &mut dyn Write,
        offset: u64,
        length: u64,
    ) -> Result<u64, LibvirtError> {
        let stream = self.stream()?;
        self.ask("virStorageVolDownload", "download", |raw| {
            raw.download(&stream, offset, length, 0)
        })?;
        match self.receive_all(&stream, sink) {
            Ok(done) => {
                stream.finish().map_err(|e| self.failed("download", &e))?;
                Ok(done)
            }
            Err(error) => {
                let _ = stream.abort();
                Err(error)
            }
        }
    }

    fn receive_all(&self, stream: &Stream, sink: &mut dyn Write) -> Result<u64, LibvirtError> {
        let doing = || format!("download volume {:?}", self.name);
        let mut piece = vec![0; PIECE];
        let mut done = 0;
        loop {
            let got = stream
                .recv(&mut piece)
                .map_err(|e| self.failed("download", &e))?;
            let got = usize::try_from(got).unwrap_or(0);
            if got == 0 {
                return Ok(done);
            }
            sink.write_all(&piece[..got])
                .map_err(|e| LibvirtError::ours(doing(), Cause::Other, e))?;
            done += got as u64;
        }
    }

    fn stream(&self) -> Result<Stream, LibvirtError> {
        Stream::new(&self.conn, 0 as sys::virStreamFlags)
            .map_err(|e| self.failed("open a stream for", &e))
    }

    fn failed(&self, doing: &str, error: &virt::error::Error) -> LibvirtError {
        LibvirtError::new(format!("{doing} volume {:?}", self.name), error)
    }
}
