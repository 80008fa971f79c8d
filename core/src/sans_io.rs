//! The state machines without sockets and clocks, for this workspace's simulation and fuzz targets
//! only: they run the very code that ships. No promise of stability, hence hidden.

pub use crate::backoff::Backoff;

/// The registration with DPS.
pub mod registration {
    pub use crate::provisioning::{
        machine::{Action, Event, Machine, Registered, Step, Throttling},
        wire::{Answer, Operation, Request},
    };
}

/// The connection to a hub.
pub mod hub {
    pub use rumqttc::mqttbytes::{
        QoS,
        v4::{Packet, Publish},
    };

    pub use crate::hub::machine::{Machine, Output, Renewal, Waiter};
}
