//! Storage pools.

use std::path::Path;
use std::time::{Duration, Instant};

use virt::storage_pool::StoragePool as Raw;
use virt::storage_vol::StorageVol;
use virt::sys;

use super::conn::{Host, call, plain};
use super::domain::missing;
use super::error::LibvirtError;
use super::volume::Volume;
use super::xml::pool::PoolXml;
use super::xml::volume::VolumeXml;

/// A storage pool.
#[derive(Debug, Clone)]
pub struct Pool {
    raw: Raw,
    /// Its name.
    pub name: String,
    pub(super) conn: virt::connect::Connect,
}

/// What the volumes of a pool are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolSort {
    /// Files in a directory, of any format.
    Files,
    /// Logical volumes of LVM: block devices, raw, which take all their room at once.
    Logical,
    /// Something that kvmctl makes no volumes in, by libvirt's word.
    Other(String),
}

/// How much room a pool has, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolInfo {
    /// All of it.
    pub capacity: u64,
    /// What is used.
    pub allocation: u64,
    /// What is free.
    pub available: u64,
}

impl Host {
    /// Looks a pool up.
    ///
    /// # Errors
    /// NotFound.
    pub fn pool(&self, name: &str) -> Result<Pool, LibvirtError> {
        let name = plain("look up a pool", name)?;
        let raw = call(
            "virStoragePoolLookupByName",
            "find storage pool",
            name,
            || self.conn.lookup_storage_pool_by_name(name),
        )?;
        Ok(Pool {
            raw,
            name: name.to_owned(),
            conn: self.conn.clone(),
        })
    }

    /// Lists all pools, active or not.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn pools(&self) -> Result<Vec<Pool>, LibvirtError> {
        let all = call(
            "virConnectListAllStoragePools",
            "list",
            "storage pools",
            || self.conn.list_all_storage_pools(0),
        )?;
        let reading = |e: virt::error::Error| LibvirtError::new("list pools".to_owned(), &e);
        all.into_iter()
            .map(|raw| {
                let name = raw.name().map_err(reading)?;
                Ok(Pool {
                    raw,
                    name,
                    conn: self.conn.clone(),
                })
            })
            .collect()
    }

    /// Defines a pool that is a directory.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn define_directory_pool(&self, name: &str, path: &Path) -> Result<Pool, LibvirtError> {
        let xml = PoolXml::directory(name, path).to_xml()?;
        let raw = call(
            "virStoragePoolDefineXML",
            "define storage pool",
            name,
            || self.conn.define_storage_pool_xml(&xml, 0),
        )?;
        Ok(Pool {
            raw,
            name: name.to_owned(),
            conn: self.conn.clone(),
        })
    }
}

fn sort_of(kind: String) -> PoolSort {
    match kind.as_str() {
        "dir" | "fs" | "netfs" => PoolSort::Files,
        "logical" => PoolSort::Logical,
        _ => PoolSort::Other(kind),
    }
}

impl Pool {
    fn ask<T>(
        &self,
        api: &'static str,
        doing: &str,
        f: impl FnOnce(&Raw) -> Result<T, virt::error::Error>,
    ) -> Result<T, LibvirtError> {
        let subject = format!("storage pool {:?}", self.name);
        call(api, doing, &subject, || f(&self.raw))
    }

    /// Returns whether it is active.
    ///
    /// # Errors
    /// When it is gone.
    pub fn is_active(&self) -> Result<bool, LibvirtError> {
        self.ask("virStoragePoolIsActive", "look at", Raw::is_active)
    }

    /// Returns whether it starts with the host.
    ///
    /// # Errors
    /// When it is gone.
    pub fn autostart(&self) -> Result<bool, LibvirtError> {
        self.ask("virStoragePoolGetAutostart", "look at", Raw::autostart)
    }

    /// Makes its directory.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn build(&self) -> Result<(), LibvirtError> {
        self.ask("virStoragePoolBuild", "build", |raw| raw.build(0))
    }

    /// Activates it.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn start(&self) -> Result<(), LibvirtError> {
        self.ask("virStoragePoolCreate", "start", |raw| raw.create(0))
    }

    /// Deactivates it; its volumes stay.
    ///
    /// # Errors
    /// NotNow when it is not active.
    pub fn stop(&self) -> Result<(), LibvirtError> {
        self.ask("virStoragePoolDestroy", "stop", Raw::destroy)
    }

    /// Removes its definition; its volumes stay.
    ///
    /// # Errors
    /// NotNow when it is active.
    pub fn undefine(&self) -> Result<(), LibvirtError> {
        self.ask("virStoragePoolUndefine", "undefine", Raw::undefine)
    }

    /// Sets whether it starts with the host.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn set_autostart(&self, on: bool) -> Result<(), LibvirtError> {
        self.ask(
            "virStoragePoolSetAutostart",
            "set the autostart of",
            |raw| raw.set_autostart(on),
        )
    }

    /// Makes libvirt look at what is really there. It does not while somebody makes a volume there:
    /// that is waited for.
    ///
    /// # Errors
    /// When it is not active, or volumes are made in it for more than a minute.
    pub fn refresh(&self) -> Result<(), LibvirtError> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let refreshed = self.ask("virStoragePoolRefresh", "refresh", |raw| raw.refresh(0));
            match refreshed {
                Err(e)
                    if e.message().contains("asynchronous jobs") && Instant::now() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(100));
                }
                other => return other,
            }
        }
    }

    /// Returns how much room it has.
    ///
    /// # Errors
    /// When it is gone.
    pub fn info(&self) -> Result<PoolInfo, LibvirtError> {
        let info = self.ask("virStoragePoolGetInfo", "look at", Raw::info)?;
        let (capacity, allocation) = (info.capacity, info.allocation);
        Ok(PoolInfo {
            capacity,
            allocation,
            available: info.available,
        })
    }

    /// Returns its definition.
    ///
    /// # Errors
    /// When it is gone.
    pub fn definition(&self) -> Result<PoolXml, LibvirtError> {
        let text = self.ask("virStoragePoolGetXMLDesc", "read", |raw| raw.xml_desc(0))?;
        Ok(PoolXml::from_xml(&text)?)
    }

    /// Returns what its volumes are.
    ///
    /// # Errors
    /// When it is gone.
    pub fn sort(&self) -> Result<PoolSort, LibvirtError> {
        Ok(sort_of(self.definition()?.kind))
    }

    /// Returns its directory, where its volumes are files.
    ///
    /// # Errors
    /// When it is gone.
    pub fn folder(&self) -> Result<Option<String>, LibvirtError> {
        let definition = self.definition()?;
        let path = definition.path().map(str::to_owned);
        Ok(path.filter(|_| sort_of(definition.kind) == PoolSort::Files))
    }

    /// Returns its directory.
    ///
    /// # Errors
    /// NotFound, for a pool that is none.
    pub fn path(&self) -> Result<String, LibvirtError> {
        let definition = self.definition()?;
        let path = definition.path().map(str::to_owned);
        path.ok_or_else(|| missing("use the pool", &format!("the directory of {:?}", self.name)))
    }

    /// Looks a volume up.
    ///
    /// # Errors
    /// NotFound.
    pub fn volume(&self, name: &str) -> Result<Volume, LibvirtError> {
        let name = plain("look up a volume", name)?;
        let subject = format!("volume {name:?} in pool {:?}", self.name);
        let raw = call("virStorageVolLookupByName", "find", &subject, || {
            self.raw.lookup_storage_vol_by_name(name)
        })?;
        Ok(Volume {
            raw,
            name: name.to_owned(),
            conn: self.conn.clone(),
        })
    }

    /// Looks a volume up; `None` when libvirt does not know it.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn find_volume(&self, name: &str) -> Result<Option<Volume>, LibvirtError> {
        match self.volume(name) {
            Ok(volume) => Ok(Some(volume)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// As [`Pool::find_volume`]; one that libvirt does not know is looked for among the files before it
    /// counts as missing.
    ///
    /// # Errors
    /// When the pool is not active.
    pub fn volume_after_all(&self, name: &str) -> Result<Option<Volume>, LibvirtError> {
        if let Some(known) = self.find_volume(name)? {
            return Ok(Some(known));
        }
        self.refresh()?;
        self.find_volume(name)
    }

    /// Lists the volumes that libvirt knows.
    ///
    /// # Errors
    /// When the pool is not active.
    pub fn volumes(&self) -> Result<Vec<Volume>, LibvirtError> {
        let all = self.ask(
            "virStoragePoolListAllVolumes",
            "list the volumes of",
            |raw| raw.list_all_volumes(0),
        )?;
        all.into_iter()
            .map(|raw| {
                let reading = |e| LibvirtError::new("list volumes".to_owned(), &e);
                let name = raw.name().map_err(reading)?;
                Ok(Volume {
                    raw,
                    name,
                    conn: self.conn.clone(),
                })
            })
            .collect()
    }

    /// Makes a volume.
    ///
    /// # Errors
    /// Exists, DiskFull.
    pub fn create_volume(&self, xml: &VolumeXml) -> Result<Volume, LibvirtError> {
        self.create_with(xml, 0 as sys::virStorageVolCreateFlags)
    }

    /// Makes a volume whose tables, and where its allocation is its capacity all of it, are there at
    /// once.
    ///
    /// # Errors
    /// Exists, DiskFull.
    pub fn create_preallocated(&self, xml: &VolumeXml) -> Result<Volume, LibvirtError> {
        self.create_with(xml, sys::VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA)
    }

    /// Makes a volume with the content of another one, in the format of its own. The other's format
    /// is what libvirt finds it to be: the caller has made sure that it is the recorded one.
    ///
    /// # Errors
    /// Exists, DiskFull.
    pub fn copy_volume(&self, xml: &VolumeXml, source: &Volume) -> Result<Volume, LibvirtError> {
        let text = xml.to_xml()?;
        let subject = format!("volume {:?} in pool {:?}", xml.name, self.name);
        let none = 0 as sys::virStorageVolCreateFlags;
        let raw = call("virStorageVolCreateXMLFrom", "copy", &subject, || {
            StorageVol::create_xml_from(&self.raw, &text, &source.raw, none)
        })?;
        Ok(Volume {
            raw,
            name: xml.name.clone(),
            conn: self.conn.clone(),
        })
    }

    fn create_with(
        &self,
        xml: &VolumeXml,
        flags: sys::virStorageVolCreateFlags,
    ) -> Result<Volume, LibvirtError> {
        let text = xml.to_xml()?;
        let subject = format!("volume {:?} in pool {:?}", xml.name, self.name);
        let raw = call("virStorageVolCreateXML", "create", &subject, || {
            StorageVol::create_xml(&self.raw, &text, flags)
        })?;
        Ok(Volume {
            raw,
            name: xml.name.clone(),
            conn: self.conn.clone(),
        })
    }
}
