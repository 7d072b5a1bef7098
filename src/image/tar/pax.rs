//! Extended headers: `LENGTH KEY=VALUE\n`, where a value may be any bytes.

use std::collections::BTreeMap;

use super::error::TarError;

/// What extended headers say of a member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    /// Seconds since 1970, and nanoseconds.
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) acl: bool,
    pub(super) sparse: bool,
}

impl Pax {
    /// Adds a header.
    pub(super) fn read(&mut self, mut text: &[u8]) -> Result<(), TarError> {
        let broken = || TarError::Broken("an extended header makes no sense".to_owned());
        while !text.is_empty() {
            let blank = text.iter().position(|b| *b == b' ').ok_or_else(broken)?;
            let length: usize = number(&text[..blank])?;
            let record = text.get(blank + 1..length).ok_or_else(broken)?;
            let record = record.strip_suffix(b"\n").ok_or_else(broken)?;
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(broken)?;
            self.set(&record[..equals], &record[equals + 1..])?;
            text = &text[length..];
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        match key {
            b"path" => self.path = Some(value.to_owned()),
            b"linkpath" => self.link = Some(value.to_owned()),
            b"size" => self.size = Some(number(value)?),
            b"uid" => self.uid = Some(number(value)?),
            b"gid" => self.gid = Some(number(value)?),
            b"mtime" => {
                let mut parts = value.splitn(2, |b| *b == b'.');
                let whole: i64 = number(parts.next().unwrap_or_default())?;
                let mut nanos = parts.next().unwrap_or_default().to_owned();
                nanos.resize(9, b'0');
                // Nothing is older than 1970.
                self.mtime = Some(match whole {
                    ..0 => (0, 0),
                    _ => (whole, number(&nanos)?),
                });
            }
            b"RHT.security.selinux" => {
                let mut context = value.to_owned();
                context.push(0);
                self.xattrs.insert(b"security.selinux".to_vec(), context);
            }
            _ if key.starts_with(b"SCHILY.acl.") => self.acl = true,
            _ if key.starts_with(b"GNU.sparse.") => self.sparse = true,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.insert(name.to_owned(), value.to_owned());
                }
            }
        }
        Ok(())
    }

    /// Returns what holds for a member: its own header outranks the global one.
    pub(super) fn with(&self, local: Self) -> Self {
        let mut xattrs = self.xattrs.clone();
        xattrs.extend(local.xattrs);
        Self {
            path: local.path.or_else(|| self.path.clone()),
            link: local.link.or_else(|| self.link.clone()),
            size: local.size.or(self.size),
            uid: local.uid.or(self.uid),
            gid: local.gid.or(self.gid),
            mtime: local.mtime.or(self.mtime),
            xattrs,
            acl: local.acl || self.acl,
            sparse: local.sparse || self.sparse,
        }
    }
}

fn number<N: std::str::FromStr>(text: &[u8]) -> Result<N, TarError> {
    let text = std::str::from_utf8(text).ok();
    text.and_then(|t| t.parse().ok())
        .ok_or_else(|| TarError::Broken("a number in an extended header is none".to_owned()))
}
