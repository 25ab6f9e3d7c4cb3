//! Which of the two wires a connection speaks, and how it came to that (`docs/msp-extensions.md` section 1).

use super::carriage::{LARGE_MESSAGE, LARGE_PACKET};
use super::connection::Role;
use super::receive::ReceiveBuffer;
use super::selective::Echo;
use super::send::{Outgoing, SendBuffer};
use super::{Config, MAX_MESSAGE};
use crate::wire::DecodeError;
use crate::wire::extended::{
    self, Acknowledgment, Body, Data, Offer, Part, Settings, Tag, Timestamp, feature,
};
use crate::wire::msp;
use crate::{Instant, Rng, Seq};
use alloc::vec::Vec;
use bytes::{Buf, Bytes};
use core::num::NonZeroU32;
use core::time::Duration;

/// The longest packet that every path carries: what a node sends over several hops with whole addresses and the longest
/// ports (`spec/30` section 9). A message of 1024 bytes leaves room for settings, but not for an acknowledgment.
pub(super) const MAX_PACKET_SENT: usize = 1041;
/// The longest message that is taken from the wire.
const MAX_MESSAGE_TAKEN: u16 = LARGE_MESSAGE as u16;

/// All that we understand.
const FEATURES: u8 = feature::SELECTIVE | feature::WINDOW | feature::TIME | feature::LARGE | feature::ROLLS;
/// The unit of timestamps.
const UNIT: Duration = Echo::RESOLUTION;

/// A packet as it came, without its message.
#[derive(Debug)]
pub(crate) enum Packet {
    /// Of the reference wire.
    Plain(msp::Repr<'static>, Option<Offer>),
    Extended(extended::Repr<'static>),
}

impl Packet {
    /// Reads a packet and leaves only its message in `payload`. `form` is that of the connection, if there is one.
    pub(super) fn parse(payload: &mut Bytes, form: Option<&Form>) -> Result<Self, DecodeError> {
        let offer = Offer::parse(payload);
        let may_be_extended = offer.is_none() && !matches!(form, Some(Form::Plain));
        if may_be_extended && let Ok(repr) = extended::Repr::parse(payload) {
            let (repr, length) = repr.split();
            // Not a slice: the first slice of a buffer allocates its reference count.
            payload.advance(payload.len() - length);
            return Ok(Self::Extended(repr));
        }
        let repr = msp::Repr::parse(payload)?.without_payload();
        payload.advance(msp::Repr::DATA_HEADER_LEN.min(payload.len()));
        Ok(Self::Plain(repr, offer))
    }
}

/// What a packet says, in either form.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    /// The peer has not heard from here.
    pub(crate) first: bool,
    /// The last message that the peer has consumed.
    pub(crate) ack: Option<Seq>,
    /// What has arrived at the peer, if it reports that, `ack` included, and about which of our packets.
    pub(crate) report: Option<(&'a Acknowledgment, Option<Echo>)>,
    /// The peer asks for an acknowledgment at once.
    pub(crate) prompt: bool,
    /// When it was sent, by the clock of the peer.
    pub(crate) time: Option<Timestamp>,
    /// A probe of ours has arrived.
    pub(crate) probed: bool,
    pub(crate) content: Content,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Stop,
    /// Too short even for an acknowledgment.
    Bare,
    Empty,
    Data {
        seq: Seq,
        shutdown: bool,
        part: Option<Part>,
    },
}

impl Packet {
    /// The offer of a packet that can open a connection, `None` if it is no such packet.
    pub(super) fn opening(&self) -> Option<Option<Offer>> {
        match self {
            Self::Plain(repr, offer) if repr.is_first() => Some(*offer),
            _ => None,
        }
    }

    /// How to tell its sender that there is no such connection. Answering a STOP would never end.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Plain(msp::Repr::Stop, _)
            | Self::Extended(extended::Repr { body: Body::Stop { .. }, .. }) => None,
            Self::Plain(..) => Some(Refusal::Plain),
            Self::Extended(repr) => Some(Refusal::Extended(repr.tag, None)),
        }
    }

    /// The same with whole sequence numbers: those of the reference wire are near what the two buffers wait for.
    pub(super) fn expand(&self, now: Instant, send: &SendBuffer, receive: &ReceiveBuffer) -> Incoming<'_> {
        let repr = match self {
            Self::Extended(repr) => {
                let report = repr.acknowledgment.as_ref().map(|(acknowledgment, echo)| {
                    let echo = echo.map(|echo| Echo {
                        sent_at: moment(now, echo.timestamp),
                        held: UNIT * u32::from(echo.held),
                    });
                    (acknowledgment, echo)
                });
                let content = match repr.body {
                    Body::Stop { .. } => Content::Stop,
                    Body::Empty | Body::Probe(_) => Content::Empty,
                    Body::Data(Data { seq, shutdown, part, .. }) => Content::Data { seq, shutdown, part },
                };
                let ack = report.map(|(acknowledgment, _)| acknowledgment.consumed);
                let (prompt, probed) = (repr.prompt, repr.body == Body::Probe(0) && !repr.prompt);
                return Incoming { first: false, ack, report, prompt, time: repr.time, probed, content };
            }
            Self::Plain(repr, _) => repr,
        };
        let (ack, content) = match *repr {
            msp::Repr::Stop => (None, Content::Stop),
            msp::Repr::Bare { .. } => (None, Content::Bare),
            msp::Repr::Ack { ack, .. } => (ack, Content::Empty),
            msp::Repr::Data { first, ack, seq, shutdown, .. } => {
                // A peer that has heard nothing yet is at its beginning, so the number is a whole one.
                let near = if first { Seq(0) } else { receive.ack() };
                (ack, Content::Data { seq: near.nearest(seq), shutdown, part: None })
            }
        };
        let ack = ack.map(|ack| send.base().nearest(ack));
        let first = repr.is_first();
        Incoming { first, ack, report: None, prompt: false, time: None, probed: false, content }
    }
}

/// What one end says in its packets.
#[derive(Debug)]
pub(crate) enum Form {
    /// The reference wire.
    Plain,
    /// The reference wire with an offer, and the features that we have, until the peer has answered.
    Offering(Offer, u8),
    /// Extended packets.
    Extended(Agreement),
}

/// What the two ends have agreed on.
#[derive(Debug)]
pub(crate) struct Agreement {
    tag: Tag,
    offer: Offer,
    /// Whether the peer is known to have our settings.
    introduced: bool,
    /// What we understand, and what the peer does, too, once it has told.
    own_features: u8,
    features: u8,
    /// A probe of the peer has arrived, which has not been told so.
    probed: bool,
    /// The packet that the next acknowledgment is about, and when it came.
    heard: Option<(Timestamp, Instant)>,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is one of this connection.
    Taken,
    /// It is not.
    Foreign,
    /// It belongs to another connection that has begun between the same ports.
    Superseded,
}

/// How to tell a peer that there is no such connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Plain,
    /// With the number in the offer, if the peer may not know the tag.
    Extended(Tag, Option<u16>),
}

impl Form {
    /// That of a connection which is opened here.
    pub(super) fn of_initiator(config: &Config, rng: &mut Rng) -> Self {
        if !config.extended {
            return Self::Plain;
        }
        Self::Offering(Offer { nonce: rng.below(1 << 16) as u16 }, features(config))
    }

    /// That of a connection which a packet opens.
    pub(super) fn of_listener(config: &Config, offer: Option<Offer>, rng: &mut Rng) -> Self {
        match offer.filter(|_| config.extended) {
            Some(offer) => {
                let tag = Tag(NonZeroU32::MIN.saturating_add(rng.below(u64::from(u32::MAX)) as u32));
                Self::Extended(Agreement::new(tag, offer, features(config)))
            }
            None => Self::Plain,
        }
    }

    /// The offer that the connection began with.
    pub(super) const fn offer(&self) -> Option<Offer> {
        match self {
            Self::Plain => None,
            Self::Offering(offer, _) | Self::Extended(Agreement { offer, .. }) => Some(*offer),
        }
    }

    /// Whether every packet names its connection, and reports what has arrived.
    pub(super) const fn is_tagged(&self) -> bool {
        matches!(self, Self::Extended(_))
    }

    /// The name of the connection.
    pub(super) const fn tag(&self) -> Option<Tag> {
        match self {
            Self::Extended(agreement) => Some(agreement.tag),
            Self::Plain | Self::Offering(..) => None,
        }
    }

    /// Whether both ends take rolls, and know so.
    pub(super) const fn has_rolls(&self) -> bool {
        matches!(self, Self::Extended(Agreement { introduced: true, features, .. }) if *features & feature::ROLLS != 0)
    }

    /// Whether both ends take large messages, as the peer has told. Once it is true, it stays so.
    pub(super) const fn has_large(&self) -> bool {
        const NEEDED: u8 = feature::LARGE | feature::SELECTIVE;
        matches!(self, Self::Extended(Agreement { features, .. }) if *features & NEEDED == NEEDED)
    }

    /// Whether the next packet without data is the answer to a probe, which is due.
    pub(super) const fn owes_answer(&self) -> bool {
        matches!(self, Self::Extended(Agreement { probed: true, .. }))
    }

    /// How the peer is told that this connection does not exist any more.
    pub(super) fn refusal(&self) -> Refusal {
        match self {
            Self::Plain | Self::Offering(..) => Refusal::Plain,
            Self::Extended(agreement) => {
                Refusal::Extended(agreement.tag, agreement.settings().map(|settings| settings.nonce))
            }
        }
    }

    /// Takes note of a packet from the peer, which may settle the form.
    pub(super) fn on_packet(&mut self, now: Instant, role: Role, packet: &Packet) -> Verdict {
        match (packet, &mut *self) {
            (Packet::Extended(repr), Self::Offering(offer, own_features)) => {
                let answered = match repr.body {
                    Body::Stop { nonce } => nonce,
                    _ => repr.settings.map(|settings| settings.nonce),
                };
                if answered != Some(offer.nonce) {
                    return Verdict::Foreign;
                }
                let mut agreement = Agreement::new(repr.tag, *offer, *own_features);
                agreement.on_packet(now, role, repr);
                *self = Self::Extended(agreement);
                Verdict::Taken
            }
            (Packet::Extended(repr), Self::Extended(agreement)) if agreement.tag == repr.tag => {
                agreement.on_packet(now, role, repr);
                Verdict::Taken
            }
            (Packet::Plain(_, Some(offer)), Self::Extended(agreement)) => {
                if agreement.offer == *offer {
                    Verdict::Taken
                } else {
                    Verdict::Superseded
                }
            }
            (Packet::Plain(..), Self::Offering(..)) => {
                *self = Self::Plain;
                Verdict::Taken
            }
            (Packet::Plain(..), Self::Plain) => Verdict::Taken,
            (Packet::Plain(..) | Packet::Extended(_), Self::Extended(_))
            | (Packet::Extended(_), Self::Plain) => Verdict::Foreign,
        }
    }

    /// A message has arrived that was not known, in a packet of that time.
    pub(super) const fn on_news(&mut self, now: Instant, time: Option<Timestamp>) {
        if let (Self::Extended(agreement), Some(time)) = (self, time) {
            agreement.heard = Some((time, now));
        }
    }

    /// Appends a packet. `first` says that the peer has not been heard yet; `received` is what has come, if that
    /// is to be told: the reference wire has room for what was consumed only. False if there was no room for it.
    pub(super) fn emit(
        &mut self,
        now: Instant,
        first: bool,
        received: Option<Acknowledgment>,
        data: Option<Outgoing<'_>>,
        buffer: &mut Vec<u8>,
    ) -> bool {
        let start = buffer.len();
        if let Self::Extended(agreement) = self {
            return agreement.emit(now, received, data, buffer);
        }
        let ack = received.map(|received| received.consumed.lower());
        match data {
            None => msp::Repr::Ack { first, ack }.emit(buffer),
            Some(Outgoing { seq, shutdown, payload, .. }) => {
                msp::Repr::Data { first, ack, seq: seq.lower(), shutdown, payload }.emit(buffer);
            }
        }
        if let (Self::Offering(offer, _), Some(packet)) = (self, buffer.get_mut(start..)) {
            offer.mark(packet);
        }
        true
    }

    /// Appends a packet that asks for an acknowledgment, and tells when.
    pub(super) fn emit_question(&self, now: Instant, buffer: &mut Vec<u8>) {
        if let Self::Extended(agreement) = self {
            let bare = extended::Repr::new(agreement.tag, Body::Empty);
            let (settings, time) = (agreement.settings(), Some(timestamp(now)));
            extended::Repr { prompt: true, settings, time, ..bare }.emit(buffer);
        }
    }

    /// Whether acknowledgments name the packet that they are about.
    pub(super) const fn has_echoes(&self) -> bool {
        matches!(self, Self::Extended(Agreement { features, .. }) if *features & feature::TIME != 0)
    }

    /// Appends a packet that shows whether large ones arrive.
    pub(super) fn emit_probe(&self, buffer: &mut Vec<u8>) {
        if let Self::Extended(agreement) = self {
            let bare = extended::Repr {
                settings: agreement.settings(),
                ..extended::Repr::new(agreement.tag, Body::Empty)
            };
            let body = Body::Probe(LARGE_PACKET - bare.buffer_len());
            extended::Repr { prompt: true, body, ..bare }.emit(buffer);
        }
    }
}

impl Agreement {
    const fn new(tag: Tag, offer: Offer, own_features: u8) -> Self {
        // Whoever makes an offer can read ranges (section 2); the settings may say otherwise later.
        let features = own_features & feature::SELECTIVE;
        Self { tag, offer, introduced: false, own_features, features, probed: false, heard: None }
    }

    /// Takes note of a packet of this connection.
    fn on_packet(&mut self, now: Instant, role: Role, repr: &extended::Repr<'_>) {
        // A listener introduces itself until it hears its tag, an initiator until the listener does not.
        self.introduced |= role == Role::Listener || repr.settings.is_none();
        if let Some(settings) = repr.settings {
            let can_take = usize::from(settings.max_message) >= LARGE_MESSAGE;
            let lacking = if can_take { 0 } else { feature::LARGE };
            self.features = settings.features & self.own_features & !lacking;
        }
        let is_probe = matches!(repr.body, Body::Probe(_));
        self.probed |= is_probe && repr.prompt;
        if repr.prompt && !is_probe {
            self.heard = repr.time.map(|time| (time, now));
        }
    }

    fn emit(
        &mut self,
        now: Instant,
        mut received: Option<Acknowledgment>,
        data: Option<Outgoing<'_>>,
        buffer: &mut Vec<u8>,
    ) -> bool {
        let features = self.features;
        let has = |feature: u8| features & feature != 0;
        if let Some(received) = &mut received {
            if !has(feature::WINDOW) {
                received.window = Acknowledgment::NO_LIMIT;
            }
            if !has(feature::SELECTIVE) {
                received.ranges.clear();
            }
        }
        let (has_data, prompt) = (data.is_some(), data.as_ref().is_some_and(|data| data.prompt));
        let is_large = data.as_ref().is_some_and(|data| data.payload.len() > MAX_MESSAGE);
        let body = match data {
            Some(Outgoing { seq, shutdown, part, payload, .. }) => {
                Body::Data(Data { seq, shutdown, part, payload })
            }
            None if core::mem::take(&mut self.probed) => Body::Probe(0),
            None => Body::Empty,
        };
        let echo = self.heard.filter(|_| has(feature::TIME)).map(|(timestamp, at)| extended::Echo {
            timestamp,
            held: u8::try_from((now - at).as_micros() / UNIT.as_micros()).unwrap_or(u8::MAX),
        });
        let mut repr = extended::Repr {
            settings: self.settings(),
            time: (has(feature::TIME) && has_data).then(|| timestamp(now)),
            acknowledgment: received.map(|received| (received, echo)),
            prompt,
            ..extended::Repr::new(self.tag, body)
        };
        let fits = repr.buffer_len() <= if is_large { LARGE_PACKET } else { MAX_PACKET_SENT };
        if !fits {
            repr.acknowledgment = None;
        }
        repr.emit(buffer);
        fits
    }

    fn settings(&self) -> Option<Settings> {
        let settings =
            Settings { nonce: self.offer.nonce, features: self.own_features, max_message: MAX_MESSAGE_TAKEN };
        (!self.introduced).then_some(settings)
    }
}

/// What we understand with this configuration.
const fn features(config: &Config) -> u8 {
    if config.large_messages { FEATURES } else { FEATURES & !feature::LARGE }
}

/// The time in the units of a timestamp.
fn timestamp(now: Instant) -> Timestamp {
    Timestamp((now.as_micros() / UNIT.as_micros() as u64) as u16)
}

/// The latest moment before `now` that has this timestamp, to [`UNIT`].
fn moment(now: Instant, then: Timestamp) -> Instant {
    let age = timestamp(now).0.wrapping_sub(then.0);
    let rounded = Duration::from_micros(now.as_micros() % UNIT.as_micros() as u64);
    now - rounded - UNIT * u32::from(age)
}

impl Refusal {
    pub(super) fn emit(self, buffer: &mut Vec<u8>) {
        match self {
            Self::Plain => msp::Repr::Stop.emit(buffer),
            Self::Extended(tag, nonce) => extended::Repr::new(tag, Body::Stop { nonce }).emit(buffer),
        }
    }
}
