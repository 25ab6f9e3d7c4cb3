//! MSP in a program without std: its own entry point, panic handler and allocator, and a heap of fixed size. Two
//! tunnels in one memory find each other and carry a connection.
//!
//! `cd core/no-std && cargo run --release` prints how much of the heap they took at most. The exit status is 0 if
//! everything arrived, 101 if something panicked.
//!
//! To copy it to a device: `exchange.rs` shows what a loop does, with packets that go from one tunnel to the other
//! where a radio would take them, and a time that jumps where a timer would wait. Seeds come from a source of random
//! numbers there. Choose the limits in `exchange.rs` and the size in `heap.rs` together.
#![no_std]
#![no_main]

extern crate alloc;

mod exchange;
mod heap;

use core::fmt::{self, Write};

// The C library gives the entry point, output, the end, and what the compiler calls to copy and compare memory.
#[link(name = "c")]
unsafe extern "C" {
    fn write(file: i32, bytes: *const u8, count: usize) -> isize;
    fn _exit(status: i32) -> !;
}

#[global_allocator]
static HEAP: heap::Arena = heap::Arena::new();

#[unsafe(no_mangle)]
extern "C" fn main(_count: i32, _arguments: *const *const u8) -> i32 {
    // SAFETY: nothing came before it.
    unsafe { HEAP.init() };
    let arrived = exchange::run();
    // That nobody may see it is no harm.
    let _ = writeln!(Output, "{} of {} bytes in use at most", HEAP.peak(), heap::SIZE);
    if arrived { 0 } else { 1 }
}

/// Standard output.
struct Output;

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: the bytes are there.
        let written = unsafe { write(1, text.as_ptr(), text.len()) };
        if usize::try_from(written) == Ok(text.len()) { Ok(()) } else { Err(fmt::Error) }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: it takes any number and has no other condition.
    unsafe { _exit(101) }
}

// The precompiled `alloc` for systems with std names what unwinds. Nothing does here, as a panic ends the program; on a
// device without a system, where there is no such `alloc`, leave both out.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    // SAFETY: as above.
    unsafe { _exit(102) }
}
