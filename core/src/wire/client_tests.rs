use super::*;

const ME: Addr = Addr::new(Sid::new([0x92; 32]), Port::ECHO);
const PEER: Addr = Addr::new(Sid::new([0x47; 32]), Port::MAX);

fn message(payload: &[u8]) -> Message<'_> {
    Message {
        local: ME,
        remote: PEER,
        protection: Protection::Encrypted,
        qos: Qos::Default,
        ttl: Ttl::DEFAULT,
        repairs: false,
        payload: Payload::new(payload).unwrap(),
    }
}

fn emitted(request: &Request<'_>) -> Vec<u8> {
    let mut bytes = b"before".to_vec();
    request.emit(&mut bytes);
    assert_eq!(bytes.len() - 6, request.buffer_len());
    bytes.split_off(6)
}

/// Everything that a daemon can be asked, with the flags, QoS and TTL that it has on the wire.
#[test]
fn requests_read_and_write_the_same() {
    let send = |message, bind| Request::Send { message, bind };
    let with = |protection| Message { protection, ..message(b"x") };
    let qos = |qos| Message { qos, ..message(b"x") };
    let hops = Ttl::new(31).unwrap();
    let payload = Payload::long(&[7; Payload::MAX_LONG_LEN]).unwrap();
    let long = Message { repairs: true, payload, ..message(b"x") };
    let examples = [
        (Request::Bind { local: Addr::new(ANY, ME.port) }, [0x04, 0, 0]),
        (Request::Close { local: ME }, [0x08, 0, 0]),
        (send(message(b"x"), false), [0, 0, 0]),
        (send(message(b"x"), true), [0x04, 0, 0]),
        (send(with(Protection::Signed), false), [0x01, 0, 0]),
        (send(with(Protection::Clear), true), [0x07, 0, 0]),
        (send(qos(Qos::Management), false), [0, 1, 0]),
        (send(qos(Qos::Video), false), [0, 2, 0]),
        (send(qos(Qos::Ordinary), false), [0, 3, 0]),
        (send(qos(Qos::Opportunistic), false), [0, 4, 0]),
        (send(Message { ttl: hops, ..message(b"x") }, false), [0, 0, 31]),
        (send(message(&[7; Payload::MAX_LEN]), false), [0, 0, 0]),
        (send(long, false), [0x40, 0, 0]),
        (send(long, true), [0x44, 0, 0]),
    ];
    for (request, tail) in examples {
        let bytes = emitted(&request);
        assert_eq!(bytes[72..75], tail, "{request:?}");
        assert_eq!(Request::parse(&bytes), Ok(request));
    }
}

#[test]
fn fields_are_where_the_daemon_looks_for_them() {
    let bytes = emitted(&Request::Send { message: message(b"hi"), bind: false });
    let (port, max) = (7_u32.to_ne_bytes(), (u32::MAX >> 1).to_ne_bytes());
    assert_eq!(bytes, [&[0x92; 32][..], &port, &[0x47; 32], &max, &[0, 0, 0], b"hi"].concat());
}

#[test]
fn what_aborts_the_daemon_or_is_refused_by_it_is_no_request() {
    let good = emitted(&Request::Send { message: message(b"x"), bind: false });
    let changed = |place: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[place] = value;
        bytes
    };
    let bind = emitted(&Request::Bind { local: ME });
    let mut bind_and_close = bind.clone();
    bind_and_close[72] = BIND | CLOSE;
    let too_long = [&good[..], &[0; Payload::MAX_LEN]].concat();
    for bytes in [changed(73, 5), changed(74, 32), bind_and_close, too_long, good[..75].to_vec()] {
        assert_eq!(Request::parse(&bytes), Err(DecodeError::Invalid), "{bytes:02x?}");
    }
    for flags in [NO_SIGN, NO_SIGN | BIND, CLOSE, BIND | CLOSE, ERROR, 0x20, 0x80] {
        assert_eq!(Request::parse(&changed(72, flags)), Err(DecodeError::Invalid), "{flags:02x}");
    }
    for length in 0..HEADER_LEN {
        assert_eq!(Request::parse(&bind[..length]), Err(DecodeError::Truncated));
    }
    let mut port = bind;
    port[32..36].copy_from_slice(&u32::MAX.to_ne_bytes());
    assert_eq!(Request::parse(&port), Err(DecodeError::Invalid), "a port of 32 bits");
}

#[test]
fn a_bind_or_close_that_means_more_is_not_mistaken_for_a_plain_one() {
    let bind = emitted(&Request::Bind { local: ME });
    for (place, value) in [(40, 1), (68, 1), (73, 1), (74, 1)] {
        let mut bytes = bind.clone();
        bytes[place] = value;
        assert_eq!(Request::parse(&bytes), Err(DecodeError::Invalid), "byte {place}");
    }
}

#[test]
fn numbers_have_their_limits() {
    assert_eq!(Payload::new(b""), None);
    assert_eq!(Payload::new(&[0; Payload::MAX_LEN + 1]), None);
    assert_eq!((Payload::long(b""), Payload::long(&[0; Payload::MAX_LONG_LEN + 1])), (None, None));
    assert_eq!(Payload::new(b"x").map(Payload::as_bytes), Some(&b"x"[..]));
    assert_eq!((Ttl::new(32), Ttl::new(0)), (None, Some(Ttl::DEFAULT)));
    assert_eq!((Qos::new(5), Qos::new(255)), (None, None));
    assert_eq!(Qos::default(), Qos::Default);
}

#[test]
fn replies_read_and_write_the_same() {
    let data = |protection| ReplyKind::Data { protection, payload: b"hello" };
    let examples = [
        (ReplyKind::Bound, 0x04),
        (ReplyKind::Done, 0x08),
        (ReplyKind::Refused, 0x10),
        (data(Protection::Encrypted), 0),
        (data(Protection::Signed), 1),
        (data(Protection::Clear), 3),
    ];
    for (kind, flags) in examples {
        // Nobody says what the last two are good for; they harm nothing.
        let reply = Reply { local: ME, remote: PEER, kind, qos: 200, ttl: 100 };
        let mut bytes = Vec::new();
        reply.emit(&mut bytes);
        assert_eq!(bytes[72..75], [flags, 200, 100]);
        assert_eq!(bytes.len(), reply.buffer_len());
        assert_eq!(Reply::parse(&bytes), Ok(reply));
        assert_eq!(Reply::parse(&bytes[..74]), Err(DecodeError::Truncated));
    }
}

#[test]
fn replies_that_no_daemon_sends_are_refused() {
    let mut bytes = Vec::new();
    let kind = ReplyKind::Data { protection: Protection::Encrypted, payload: b"x" };
    Reply { local: ME, remote: PEER, kind, qos: 0, ttl: 0 }.emit(&mut bytes);
    for flags in [NO_SIGN, BIND, CLOSE, ERROR, BIND | CLOSE, 0x20, REPAIRS, 0x80, BIND | NO_ENCRYPT] {
        bytes[72] = flags;
        assert_eq!(Reply::parse(&bytes), Err(DecodeError::Invalid), "{flags:02x}");
    }
}
