//! An allocator that never frees, from a static block.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering};

const SIZE: usize = 4 << 20;

#[repr(align(16))]
pub struct Bump {
    block: UnsafeCell<[u8; SIZE]>,
    used: AtomicUsize,
}

// SAFETY: bytes of the block are given to one owner each, because `used` only grows.
unsafe impl Sync for Bump {}

impl Bump {
    pub const fn new() -> Self {
        Self { block: UnsafeCell::new([0; SIZE]), used: AtomicUsize::new(0) }
    }
}

// SAFETY: every range given out lies in the block, is aligned, and was never given before.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > 16 {
            return null_mut();
        }
        // Rounding the size up keeps the next range aligned.
        let size = layout.size().next_multiple_of(16);
        let start = self.used.fetch_add(size, Ordering::Relaxed);
        if start.saturating_add(size) > SIZE {
            return null_mut();
        }
        // SAFETY: `start` is within the block.
        unsafe { self.block.get().cast::<u8>().add(start) }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}
