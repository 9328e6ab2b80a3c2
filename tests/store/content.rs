//! The bytes of one file, sparse.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Bytes of a block, the unit of storage; all-zero blocks take no memory.
const BLOCK: usize = 16 * 1024;

/// Bytes that a disk writes at once.
pub(crate) const SECTOR: usize = 512;

/// The bytes of a file. Cloning is cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    len: u64,
    blocks: Vec<Option<Arc<Vec<u8>>>>,
}

impl Content {
    pub(crate) fn read(path: &Path) -> Self {
        let mut content = Self::default();
        let mut file = File::open(path).unwrap();
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = file.read(&mut buffer).unwrap();
            if count == 0 {
                return content;
            }
            content.write(content.len, &buffer[..count]);
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        self.len = self.len.max(offset + data.len() as u64);
        self.put(offset, data);
    }

    pub(crate) fn resize(&mut self, len: u64) {
        if len < self.len {
            let zeros = vec![0; usize::try_from(self.len - len).unwrap().min(BLOCK)];
            let end_of_block = len.next_multiple_of(BLOCK as u64).min(self.len);
            self.put(len, &zeros[..usize::try_from(end_of_block - len).unwrap()]);
            self.blocks.truncate(usize::try_from(len).unwrap().div_ceil(BLOCK));
        }
        self.len = len;
    }

    /// The sector with this number, padded with zeros.
    pub(crate) fn sector(&self, number: u64) -> [u8; SECTOR] {
        let mut bytes = [0; SECTOR];
        let at = usize::try_from(number).unwrap() * SECTOR;
        if let Some(Some(block)) = self.blocks.get(at / BLOCK) {
            bytes.copy_from_slice(&block[at % BLOCK..][..SECTOR]);
        }
        bytes
    }

    /// Writes a sector without changing the length.
    pub(crate) fn set_sector(&mut self, number: u64, bytes: &[u8; SECTOR]) {
        let at = number * SECTOR as u64;
        if at < self.len {
            let room = usize::try_from(self.len - at).unwrap().min(SECTOR);
            self.put(at, &bytes[..room]);
        }
    }

    pub(crate) fn store(&self, path: &Path) {
        let file = File::create(path).unwrap();
        file.set_len(self.len).unwrap();
        for (index, block) in self.blocks.iter().enumerate() {
            if let Some(block) = block {
                let at = (index * BLOCK) as u64;
                let count = usize::try_from(self.len - at).unwrap().min(BLOCK);
                file.write_all_at(&block[..count], at).unwrap();
            }
        }
    }

    fn put(&mut self, offset: u64, mut data: &[u8]) {
        let mut at = usize::try_from(offset).unwrap();
        while !data.is_empty() {
            let (index, start) = (at / BLOCK, at % BLOCK);
            let count = data.len().min(BLOCK - start);
            if self.blocks.len() <= index {
                self.blocks.resize(index + 1, None);
            }
            let block = &mut self.blocks[index];
            if block.is_some() || data[..count].iter().any(|byte| *byte != 0) {
                let block = block.get_or_insert_with(|| Arc::new(vec![0; BLOCK]));
                Arc::make_mut(block)[start..start + count].copy_from_slice(&data[..count]);
            }
            at += count;
            data = &data[count..];
        }
    }
}
