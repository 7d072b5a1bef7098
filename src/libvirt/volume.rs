//! Volumes and their facts.

use virt::connect::Connect;
use virt::storage_vol::StorageVol as Raw;
use virt::sys;

use super::conn::{Host, call, plain};
use super::error::LibvirtError;
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
    pub(super) fn ask<T>(
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

    pub(super) fn failed(&self, doing: &str, error: &virt::error::Error) -> LibvirtError {
        LibvirtError::new(format!("{doing} volume {:?}", self.name), error)
    }
}
