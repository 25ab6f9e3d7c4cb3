//! A program without std: its own entry point, panic handler and allocator. Two tunnels in one memory carry a
//! connection; exit status 0 tells that all of it arrived, 101 that something panicked.
//!
//! `cd core/no-std && cargo run --release`
#![no_std]
#![no_main]

extern crate alloc;

mod exchange;
mod heap;

// The C library gives the entry point, the end, and what the compiler calls to copy and compare memory.
#[link(name = "c")]
unsafe extern "C" {
    fn _exit(status: i32) -> !;
}

#[global_allocator]
static HEAP: heap::Bump = heap::Bump::new();

#[unsafe(no_mangle)]
extern "C" fn main(_count: i32, _arguments: *const *const u8) -> i32 {
    if exchange::run() { 0 } else { 1 }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: it takes any number and has no other condition.
    unsafe { _exit(101) }
}
