//! `wasi:sockets`.

use std::net::{IpAddr, SocketAddr};

use wasip2::sockets::{
    instance_network::instance_network,
    ip_name_lookup::resolve_addresses,
    network::{ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress},
    tcp_create_socket::create_tcp_socket,
    udp::OutgoingDatagram,
    udp_create_socket::create_udp_socket,
};

fn said(error: ErrorCode) -> String {
    error.name().to_owned()
}

fn address(text: &str) -> Result<(IpAddressFamily, IpSocketAddress), String> {
    let address: SocketAddr = text.parse().map_err(|_| format!("{text} is no address"))?;
    Ok(match address.ip() {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            let address = Ipv4SocketAddress { port: address.port(), address: (a, b, c, d) };
            (IpAddressFamily::Ipv4, IpSocketAddress::Ipv4(address))
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h] = ip.segments();
            let address = Ipv6SocketAddress {
                port: address.port(),
                flow_info: 0,
                address: (a, b, c, d, e, f, g, h),
                scope_id: 0,
            };
            (IpAddressFamily::Ipv6, IpSocketAddress::Ipv6(address))
        }
    })
}

/// What came.
pub(crate) fn tcp(to: &str, text: &str) -> Result<String, String> {
    let (family, to) = address(to)?;
    let socket = create_tcp_socket(family).map_err(said)?;
    socket.start_connect(&instance_network(), to).map_err(said)?;
    socket.subscribe().block();
    let (input, output) = socket.finish_connect().map_err(said)?;
    output.blocking_write_and_flush(text.as_bytes()).map_err(|error| format!("{error:?}"))?;
    let came = input.blocking_read(4096).map_err(|error| format!("{error:?}"))?;
    Ok(String::from_utf8_lossy(&came).into_owned())
}

/// What came.
pub(crate) fn udp(to: &str, text: &str) -> Result<String, String> {
    let (family, to) = address(to)?;
    let socket = create_udp_socket(family).map_err(said)?;
    let any = match family {
        IpAddressFamily::Ipv4 => address("0.0.0.0:0"),
        IpAddressFamily::Ipv6 => address("[::]:0"),
    };
    socket.start_bind(&instance_network(), any?.1).map_err(said)?;
    socket.finish_bind().map_err(said)?;
    let (input, output) = socket.stream(None).map_err(said)?;
    output.subscribe().block();
    output.check_send().map_err(said)?;
    let datagram = OutgoingDatagram { data: text.as_bytes().to_vec(), remote_address: Some(to) };
    output.send(&[datagram]).map_err(said)?;
    loop {
        input.subscribe().block();
        if let Some(datagram) = input.receive(1).map_err(said)?.into_iter().next() {
            return Ok(String::from_utf8_lossy(&datagram.data).into_owned());
        }
        // What went wrong with sending is said here.
        output.check_send().map_err(said)?;
    }
}

/// `listens`
pub(crate) fn listen(at: &str) -> Result<String, String> {
    let (family, at) = address(at)?;
    let socket = create_tcp_socket(family).map_err(said)?;
    socket.start_bind(&instance_network(), at).map_err(said)?;
    socket.finish_bind().map_err(said)?;
    socket.start_listen().map_err(said)?;
    socket.finish_listen().map_err(said)?;
    Ok("listens".to_owned())
}

/// How many could be made.
pub(crate) fn many(count: u32) -> Result<String, String> {
    let mut sockets = Vec::new();
    for _ in 0..count {
        match create_tcp_socket(IpAddressFamily::Ipv4) {
            Ok(socket) => sockets.push(socket),
            Err(error) => return Ok(format!("{} sockets, then {}", sockets.len(), said(error))),
        }
    }
    Ok(format!("{} sockets", sockets.len()))
}

/// The addresses.
pub(crate) fn lookup(name: &str) -> Result<String, String> {
    let found = resolve_addresses(&instance_network(), name).map_err(said)?;
    let mut addresses = Vec::new();
    loop {
        found.subscribe().block();
        match found.resolve_next_address().map_err(said)? {
            Some(IpAddress::Ipv4((a, b, c, d))) => addresses.push(IpAddr::from([a, b, c, d]).to_string()),
            Some(IpAddress::Ipv6((a, b, c, d, e, f, g, h))) => {
                addresses.push(IpAddr::from([a, b, c, d, e, f, g, h]).to_string());
            }
            None => return Ok(addresses.join(" ")),
        }
    }
}

/// How many were begun.
pub(crate) fn lookups(name: &str, count: u32) -> Result<String, String> {
    for _ in 0..count {
        drop(resolve_addresses(&instance_network(), name).map_err(said)?);
    }
    Ok(format!("{count} lookups begun"))
}
