//! A server of MQTT that says what a case tells it to, right or wrong.

use std::time::SystemTime;

use bytes::BytesMut;
use dps_emulator::Recorded;
use rumqttc::mqttbytes::{
    Error, QoS,
    v4::{ConnAck, ConnectReturnCode, Login, Packet, PubAck, Publish, SubAck, SubscribeReasonCode},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use crate::{case::Script, password::Password, raw::Heard};

/// More than any client of this suite sends.
const LARGEST: usize = 1 << 20;

/// Answers each packet of one connection as the script says, until the client is gone; `alone` hangs
/// up where more has been said than the packet. The last connection of the script stands for all
/// that follow.
pub(crate) async fn follow(
    mut stream: TlsStream<TcpStream>,
    connection: u64,
    script: &Script,
    heard: &Heard,
) -> std::io::Result<()> {
    let turn = usize::try_from(connection).unwrap_or(usize::MAX).min(script.len());
    let answers = &script[turn - 1];
    let mut incoming = BytesMut::new();
    loop {
        let packet = match Packet::read(&mut incoming, LARGEST) {
            Ok(packet) => packet,
            Err(Error::InsufficientBytes(_)) => match stream.read_buf(&mut incoming).await? {
                0 => return Ok(()),
                _ => continue,
            },
            Err(error) => return Err(std::io::Error::other(error.to_string())),
        };
        let mut recorded = recorded(&packet);
        recorded.connection = connection;
        let name = recorded.packet.clone();
        {
            let mut heard = heard.all();
            heard.0.push(recorded);
            if let Packet::Connect(connect) = &packet
                && let Some(Login { password, .. }) = &connect.login
                && !password.is_empty()
            {
                heard.1.push(Password { text: password.clone(), at: SystemTime::now() });
            }
        }
        for answer in answers.get(&name).into_iter().flatten() {
            if answer == "alone" {
                match incoming.is_empty() {
                    true => continue,
                    false => return Ok(()),
                }
            }
            stream.write_all(&bytes_of(answer, &packet)).await?;
        }
        stream.flush().await?;
    }
}

/// The bytes of a word of a script, in answer to this packet.
fn bytes_of(answer: &str, packet: &Packet) -> Vec<u8> {
    let (word, rest) = answer.split_once(' ').unwrap_or((answer, ""));
    let id = match packet {
        Packet::Publish(publish) => publish.pkid,
        Packet::Subscribe(subscribe) => subscribe.pkid,
        _ => 0,
    };
    let answer = match word {
        "bytes" => return decoded(rest),
        "text" => return rest.as_bytes().to_vec(),
        "connack" => Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false)),
        "suback" => {
            let granted = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce)];
            Packet::SubAck(SubAck::new(id, granted))
        }
        "puback" => Packet::PubAck(PubAck::new(id)),
        "pingresp" => Packet::PingResp,
        "publish" => {
            let (topic, body) = rest.split_once(' ').unwrap_or((rest, ""));
            let mut publish = Publish::new(topic, QoS::AtLeastOnce, body);
            publish.pkid = 1;
            Packet::Publish(publish)
        }
        other => panic!("a script cannot say {other:?}"),
    };
    let mut outgoing = BytesMut::new();
    answer.write(&mut outgoing, LARGEST).expect("a packet that fits");
    outgoing.to_vec()
}

fn decoded(hexadecimal: &str) -> Vec<u8> {
    let digits: Vec<_> = hexadecimal.chars().filter_map(|digit| digit.to_digit(16)).collect();
    let byte = |pair: &[u32]| u8::try_from(pair[0] * 16 + pair[1]).expect("two digits");
    digits.chunks_exact(2).map(byte).collect()
}

/// The packet as the emulator would have recorded it.
fn recorded(packet: &Packet) -> Recorded {
    let mut entry = Recorded::default();
    let name = match packet {
        Packet::Connect(connect) => {
            entry.client_id = Some(connect.client_id.clone());
            entry.user_name = connect.login.as_ref().map(|login| login.username.clone());
            let password = connect.login.as_ref().is_some_and(|login| !login.password.is_empty());
            entry.has_password = Some(password);
            entry.clean_session = Some(connect.clean_session);
            entry.keep_alive = Some(connect.keep_alive);
            "CONNECT"
        }
        Packet::Subscribe(subscribe) => {
            let filters: Vec<_> = subscribe.filters.iter().map(|f| f.path.as_str()).collect();
            entry.topic = Some(filters.join(" "));
            entry.qos = subscribe.filters.iter().map(|filter| filter.qos as u8).collect();
            "SUBSCRIBE"
        }
        Packet::Publish(publish) => {
            entry.topic = Some(publish.topic.clone());
            entry.qos = vec![publish.qos as u8];
            entry.dup = publish.dup;
            entry.retain = publish.retain;
            entry.payload = publish.payload.to_vec();
            entry.packet_id = Some(publish.pkid);
            "PUBLISH"
        }
        Packet::PubAck(_) => "PUBACK",
        Packet::PingReq => "PINGREQ",
        Packet::Disconnect => "DISCONNECT",
        other => panic!("no client of this suite sends {other:?}"),
    };
    entry.packet = name.to_owned();
    entry
}
