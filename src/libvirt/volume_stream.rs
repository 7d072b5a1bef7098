//! The bytes of volumes by stream, so that a remote host is like a local one. Holes stay holes.

use std::io::{Read, Write};

use virt::stream::Stream;
use virt::sys;

use super::error::{Cause, LibvirtError};
use super::ffi::sparse;
use super::volume::Volume;

/// What becomes of zeroes that a new volume is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filling {
    /// They are written.
    Dense,
    /// They are left out.
    Sparse,
}

/// A writer that can be told of holes.
pub trait HoleSink: Write {
    /// Takes so many zeroes.
    ///
    /// # Errors
    /// The file system's.
    fn hole(&mut self, length: u64) -> std::io::Result<()>;
}

/// Piece that a stream is fed with: libvirt's own messages hold 4 MiB, and a quarter is as fast.
const PIECE: usize = 1 << 20;

impl Volume {
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

    /// Fills a new volume from `source`, as [`Volume::upload`]; blocks of zeroes may stay holes, where
    /// the daemon knows them.
    ///
    /// # Errors
    /// As [`Volume::upload`].
    pub fn fill(
        &self,
        filling: Filling,
        source: &mut dyn Read,
        size: u64,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), LibvirtError> {
        if filling == Filling::Dense || size == 0 {
            return self.upload(source, size, progress);
        }
        let stream = self.stream()?;
        let begun = self.ask("virStorageVolUpload", "upload", |raw| {
            raw.upload(&stream, 0, size, sys::VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM)
        });
        match begun {
            // An old daemon, or one whose driver knows no holes.
            Err(e) if e.is_no_support() => {
                let _ = stream.abort();
                return self.upload(source, size, progress);
            }
            other => other?,
        }
        match self.send_sparse(&stream, &mut source.take(size), size, progress) {
            Ok(()) => stream.finish().map_err(|e| self.failed("upload", &e)),
            Err(error) => {
                let _ = stream.abort();
                Err(error)
            }
        }
    }

    fn send_sparse(
        &self,
        stream: &Stream,
        source: &mut dyn Read,
        size: u64,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), LibvirtError> {
        let mut piece = vec![0; PIECE];
        let (mut done, mut hole) = (0_u64, 0_u64);
        while done < size {
            let read = self.read_piece(source, &mut piece)?;
            if read == 0 {
                return Err(self.ended(done, size));
            }
            let piece = &piece[..read];
            if piece.iter().all(|byte| *byte == 0) {
                hole += read as u64;
            } else {
                self.send_hole(stream, &mut hole)?;
                self.send(stream, piece)?;
            }
            done += read as u64;
            if !progress(done) {
                return Err(LibvirtError::ours(
                    self.uploading(),
                    Cause::Other,
                    "interrupted",
                ));
            }
        }
        self.send_hole(stream, &mut hole)
    }

    fn send_hole(&self, stream: &Stream, hole: &mut u64) -> Result<(), LibvirtError> {
        match std::mem::take(hole) {
            0 => Ok(()),
            length => sparse::send_hole(stream, length).map_err(|e| self.failed("upload", &e)),
        }
    }

    fn uploading(&self) -> String {
        format!("upload volume {:?}", self.name)
    }

    fn ended(&self, done: u64, size: u64) -> LibvirtError {
        let message = format!("the source ended after {done} of {size} bytes");
        LibvirtError::ours(self.uploading(), Cause::Other, message)
    }

    /// Fills a piece as far as the source goes.
    fn read_piece(&self, source: &mut dyn Read, piece: &mut [u8]) -> Result<usize, LibvirtError> {
        let mut at = 0;
        while at < piece.len() {
            match source.read(&mut piece[at..]) {
                Ok(0) => break,
                Ok(read) => at += read,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(LibvirtError::ours(self.uploading(), Cause::Other, e)),
            }
        }
        Ok(at)
    }

    fn send(&self, stream: &Stream, mut rest: &[u8]) -> Result<(), LibvirtError> {
        while !rest.is_empty() {
            let sent = stream.send(rest).map_err(|e| self.failed("upload", &e))?;
            match usize::try_from(sent) {
                Ok(sent) if sent > 0 => rest = rest.get(sent..).unwrap_or_default(),
                _ => {
                    let message = "the stream takes no more";
                    return Err(LibvirtError::ours(self.uploading(), Cause::Lost, message));
                }
            }
        }
        Ok(())
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
        let mut piece = vec![0; PIECE];
        let mut done = 0;
        while done < size {
            let read = self.read_piece(source, &mut piece)?;
            if read == 0 {
                return Err(self.ended(done, size));
            }
            self.send(stream, &piece[..read])?;
            done += read as u64;
            if !progress(done) {
                return Err(LibvirtError::ours(
                    self.uploading(),
                    Cause::Other,
                    "interrupted",
                ));
            }
        }
        Ok(())
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

    /// As [`Volume::download`] of everything, told apart into bytes and holes where the daemon knows
    /// holes.
    ///
    /// # Errors
    /// What the driver refuses, or the sink.
    pub fn download_with_holes(&self, sink: &mut dyn HoleSink) -> Result<(), LibvirtError> {
        let stream = self.stream()?;
        self.ask("virStorageVolDownload", "download", |raw| {
            raw.download(&stream, 0, 0, sys::VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM)
        })?;
        match self.receive_with_holes(&stream, sink) {
            Ok(()) => stream.finish().map_err(|e| self.failed("download", &e)),
            Err(error) => {
                let _ = stream.abort();
                Err(error)
            }
        }
    }

    fn receive_with_holes(
        &self,
        stream: &Stream,
        sink: &mut dyn HoleSink,
    ) -> Result<(), LibvirtError> {
        let mut piece = vec![0; PIECE];
        loop {
            let came =
                sparse::receive(stream, &mut piece).map_err(|e| self.failed("download", &e))?;
            let taken = match came {
                sparse::Came::Bytes(0) => return Ok(()),
                sparse::Came::Bytes(count) => sink.write_all(&piece[..count]),
                sparse::Came::Hole(length) => sink.hole(length),
            };
            taken.map_err(|e| {
                LibvirtError::ours(format!("download volume {:?}", self.name), Cause::Other, e)
            })?;
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
}
