//! The emulator as its clients meet it: real sockets, TLS, MQTT, WebSocket and HTTP.

mod client;
mod faults;
mod http;
mod hub;
mod registration;
mod symmetric_key;
mod tls;
