//! A heap in a fixed block of memory.

use core::alloc::{GlobalAlloc, Layout};
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};
use linked_list_allocator::LockedHeap;

/// All the memory that the core can get. This is enough for what happens here; what strangers can make it keep at most
/// follows from its limits, see `msp_core::NodeConfig` and `msp_core::msp::Config::max_memory`. An allocation that
/// fails ends the program.
pub const SIZE: usize = 80 * 1024;

static mut BLOCK: [MaybeUninit<u8>; SIZE] = [MaybeUninit::uninit(); SIZE];

/// The allocator, which counts.
pub struct Arena {
    heap: LockedHeap,
    /// The most bytes that were in use at once.
    peak: AtomicUsize,
}

impl Arena {
    pub const fn new() -> Self {
        Self { heap: LockedHeap::empty(), peak: AtomicUsize::new(0) }
    }

    /// Takes the block.
    ///
    /// # Safety
    ///
    /// It is to be called once, before anything is allocated.
    pub unsafe fn init(&self) {
        // SAFETY: as this is called once, nobody else has the block.
        unsafe { self.heap.lock().init((&raw mut BLOCK).cast(), SIZE) }
    }

    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }
}

// SAFETY: all is left to the heap.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut heap = self.heap.lock();
        let start = heap.allocate_first_fit(layout).map_or(core::ptr::null_mut(), NonNull::as_ptr);
        self.peak.fetch_max(heap.used(), Ordering::Relaxed);
        start
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: it came from `alloc` with the same layout.
        unsafe { self.heap.dealloc(start, layout) }
    }
}
