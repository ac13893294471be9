//! A file system for a kernel to start with: a cpio archive in the "newc" format, made without root.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A regular file, a folder and a device, as in `st_mode`.
const REGULAR: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const TRAILER: &str = "TRAILER!!!";

/// One that grows in memory. All paths in it are absolute.
pub struct Image {
    archive: Vec<u8>,
    entries: u32,
    there: BTreeSet<String>,
    folder: PathBuf,
}

impl Image {
    /// An empty one, but for the console; it and what it takes to make it are written into this folder.
    pub fn new(folder: &Path) -> Self {
        let mut image = Self { archive: Vec::new(), entries: 0, there: BTreeSet::new(), folder: folder.to_path_buf() };
        // The kernel opens it for the first process, before anything is mounted.
        image.entry("/dev/console", CHARACTER_DEVICE | 0o600, (5, 1), &[]);
        image
    }

    /// A file from its text.
    pub fn text(&mut self, path: &str, text: &str, mode: u32) {
        self.entry(path, REGULAR | mode, (0, 0), text.as_bytes());
    }

    /// A file of the host.
    pub fn file(&mut self, from: &Path, path: &str, mode: u32) -> Result<(), String> {
        let bytes = fs::read(from).map_err(|error| format!("{}: {error}", from.display()))?;
        self.entry(path, REGULAR | mode, (0, 0), &bytes);
        Ok(())
    }

    /// A program of the host, with the libraries that it loads where they are there.
    pub fn program(&mut self, from: &Path, path: &str) -> Result<(), String> {
        self.file(from, path, 0o755)?;
        let output = Command::new("ldd").arg(from).output().map_err(|error| format!("ldd: {error}"))?;
        // It fails for a static program, which needs nothing.
        for library in String::from_utf8_lossy(&output.stdout).split_whitespace().filter(|word| word.starts_with('/')) {
            let library = library.trim_end_matches(':');
            if !self.there.contains(library) {
                self.file(Path::new(library), library, 0o755)?;
            }
        }
        Ok(())
    }

    /// The same without what only a debugger reads, which is most of it.
    pub fn stripped_program(&mut self, from: &Path, path: &str) -> Result<(), String> {
        let to = self.folder.join("stripped");
        let output = Command::new("strip").arg("-o").arg(&to).arg(from).output();
        let output = output.map_err(|error| format!("strip (package binutils): {error}"))?;
        if !output.status.success() {
            return Err(format!("strip {}: {}", from.display(), String::from_utf8_lossy(&output.stderr)));
        }
        self.program(&to, path)
    }

    /// Writes it, and says where.
    pub fn write(mut self) -> Result<PathBuf, String> {
        self.header(TRAILER, 0, (0, 0), 0);
        let path = self.folder.join("image");
        fs::write(&path, &self.archive).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    /// A file with the folders above it. What is there already stays.
    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), bytes: &[u8]) {
        for (at, _) in path.match_indices('/').skip(1) {
            if self.there.insert(path[..at].to_owned()) {
                self.header(&path[1..at], FOLDER | 0o755, (0, 0), 0);
            }
        }
        if self.there.insert(path.to_owned()) {
            self.header(&path[1..], mode, device, bytes.len());
            self.archive.extend(bytes);
            self.pad();
        }
    }

    fn header(&mut self, name: &str, mode: u32, device: (u32, u32), length: usize) {
        self.entries += 1;
        // Inode, mode, owner, group, links, time, length, device of the file, device that it is, length of the name, no sum.
        let length = u32::try_from(length).expect("a file below 4 GiB");
        let name_length = u32::try_from(name.len() + 1).expect("a short name");
        let fields = [self.entries, mode, 0, 0, 1, 0, length, 0, 0, device.0, device.1, name_length, 0];
        self.archive.extend(b"070701");
        for field in fields {
            self.archive.extend(format!("{field:08x}").as_bytes());
        }
        self.archive.extend(name.as_bytes());
        self.archive.push(0);
        self.pad();
    }

    fn pad(&mut self) {
        self.archive.resize(self.archive.len().next_multiple_of(4), 0);
    }
}
