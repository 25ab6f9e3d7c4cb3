//! The receive buffer and its model.

use super::Input;
use crate::Seq;
use crate::msp::receive::{Insertion, ReceiveBuffer};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;

/// Messages that are kept even without memory for them.
const GUARANTEED: i64 = 8;
/// What a message counts beyond its bytes.
const OVERHEAD: usize = 64;

/// What a receive buffer must do, with numbers that do not wrap.
struct Model {
    window: i64,
    /// The first segment that is not consumed.
    next: i64,
    kept: BTreeMap<i64, Bytes>,
    last: Option<i64>,
}

pub(super) struct Receiver {
    buffer: ReceiveBuffer,
    model: Model,
    inserted: u8,
}

impl Receiver {
    /// Its first number comes `before_wrap` before they wrap.
    pub(super) fn new(before_wrap: u8, window: u8) -> Self {
        let next = (1 << 32) - i64::from(before_wrap);
        let buffer = ReceiveBuffer::starting_at(Seq(next as u32), window.into());
        let model = Model { window: window.into(), next, kept: BTreeMap::new(), last: None };
        Self { buffer, model, inserted: 0 }
    }

    /// Does an operation to both.
    pub(super) fn step(&mut self, operation: u8, choice: u8, input: &mut Input<'_>) -> Option<()> {
        match operation {
            0..5 => {
                let number = match input.u8()? {
                    // What is waited for comes most often.
                    place @ 0..128 if place % 2 == 0 => self.model.next + self.model.in_order(),
                    255 => self.model.next + i64::from(input.u16()? as i16),
                    place => self.model.next + i64::from(place % 128) - 8,
                };
                let length = if choice == 0 { 0 } else { usize::from(input.u8()?) };
                let memory = if choice % 4 == 1 { 100 } else { usize::MAX };
                // Each has another content, a second one with the same number included.
                self.inserted = self.inserted.wrapping_add(1);
                let payload = Bytes::from(alloc::vec![self.inserted; length]);
                self.insert(number, payload, operation == 4 && choice < 4, memory);
            }
            5 | 6 => drop(self.pop()),
            _ if choice == 0 => {
                self.buffer.truncate();
                let end = self.model.next + self.model.in_order();
                self.model.kept.split_off(&end);
            }
            _ if choice == 1 || self.model.is_finished() => {
                let (before_wrap, window) = (input.u8()?, input.u8()?);
                *self = Self::new(before_wrap, (window % 64).max(1));
            }
            _ => while self.pop().is_some() {},
        }
        self.check();
        Some(())
    }

    fn insert(&mut self, number: i64, payload: Bytes, shutdown: bool, memory: usize) {
        let expected = self.model.insert(number, payload.clone(), shutdown, memory);
        let insertion = self.buffer.insert(Seq(number as u32), payload, shutdown, memory);
        assert_eq!(insertion, expected, "{number}, where {} is next", self.model.next);
    }

    fn pop(&mut self) -> Option<Bytes> {
        let expected = self.model.pop();
        let message = self.buffer.pop();
        assert_eq!(message, expected);
        message
    }

    fn check(&self) {
        let Self { buffer, model, .. } = self;
        let in_order = model.in_order();
        assert_eq!(buffer.ack(), Seq((model.next - 1) as u32));
        assert_eq!(buffer.in_order() as i64, in_order);
        assert_eq!(buffer.is_readable(), in_order > 0);
        assert_eq!(buffer.has_hole(), model.kept.len() as i64 > in_order);
        assert_eq!(buffer.bytes(), model.kept.values().map(|payload| payload.len() + OVERHEAD).sum());
        let ready = model.kept.range(..model.next + in_order).map(|(_, payload)| payload);
        let ready = ready.filter(|payload| !payload.is_empty());
        assert_eq!(buffer.peek().collect::<Vec<_>>(), ready.collect::<Vec<_>>());
        assert_eq!(buffer.is_finished(), model.is_finished());
        assert_eq!(buffer.is_complete(), model.last == Some(model.next + in_order - 1));
    }
}

impl Model {
    /// How many can be consumed.
    fn in_order(&self) -> i64 {
        (self.next..).take_while(|number| self.kept.contains_key(number)).count() as i64
    }

    fn is_finished(&self) -> bool {
        self.last == Some(self.next - 1)
    }

    fn insert(&mut self, number: i64, payload: Bytes, shutdown: bool, memory: usize) -> Insertion {
        if self.is_finished() || number < self.next || self.kept.contains_key(&number) {
            return Insertion::Duplicate;
        }
        let place = number - self.next;
        let no_memory = payload.len() + OVERHEAD > memory && place >= GUARANTEED;
        if place >= self.window || no_memory || self.last.is_some_and(|last| number > last) {
            return Insertion::Dropped;
        }
        let insertion = if place == self.in_order() { Insertion::InOrder } else { Insertion::OutOfOrder };
        if shutdown {
            self.last = Some(number);
            self.kept.split_off(&number);
        }
        self.kept.insert(number, payload);
        self.skip_empty();
        insertion
    }

    fn pop(&mut self) -> Option<Bytes> {
        let payload = self.kept.remove(&self.next)?;
        self.next += 1;
        self.skip_empty();
        Some(payload)
    }

    /// Empty messages are not delivered.
    fn skip_empty(&mut self) {
        while self.kept.get(&self.next).is_some_and(Bytes::is_empty) {
            self.pop();
        }
    }
}
