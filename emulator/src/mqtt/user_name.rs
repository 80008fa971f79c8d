//! What the user name of a CONNECT says (Microsoft, iot-dps-mqtt-support and
//! iot-mqtt-connect-to-iot-hub).

/// Which service is meant, and by whom.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum UserName {
    /// `{idScope}/registrations/{registrationId}/api-version=…`
    Dps { id_scope: String, registration_id: String },
    /// `{hub}/{deviceId}/?api-version=…`
    Hub { hub: String, device_id: String },
}

impl UserName {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (first, rest) = text.split_once('/')?;
        let (second, rest) = rest.split_once('/')?;
        let name = match rest.split_once('/') {
            Some((id, query)) if second == "registrations" => {
                api_version(query)?;
                Self::Dps { id_scope: first.to_owned(), registration_id: id.to_owned() }
            }
            _ => {
                api_version(rest.strip_prefix('?')?)?;
                // The Node SDK names a hub on a port of its own `host:port`.
                let hub = first.split_once(':').map_or(first, |(host, _)| host);
                Self::Hub { hub: hub.to_owned(), device_id: second.to_owned() }
            }
        };
        let (Self::Dps { id_scope: service, registration_id: device }
        | Self::Hub { hub: service, device_id: device }) = &name;
        (!service.is_empty() && !device.is_empty()).then_some(name)
    }
}

/// `api-version` is mandatory (Microsoft, iot-dps-mqtt-support); which one is asked for makes no difference here.
fn api_version(query: &str) -> Option<()> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.any(|(key, value)| key == "api-version" && !value.is_empty()).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_clients_form_is_understood() {
        let dps = |text| {
            UserName::parse(text)
                == Some(UserName::Dps {
                    id_scope: "0ne00000A0A".to_owned(),
                    registration_id: "device-01".to_owned(),
                })
        };
        assert!(dps("0ne00000A0A/registrations/device-01/api-version=2021-06-01"));
        assert!(dps(
            "0ne00000A0A/registrations/device-01/api-version=2021-06-01&ClientVersion=1.15.0"
        ));
        assert!(dps(
            "0ne00000A0A/registrations/device-01/api-version=2019-03-31&ClientVersion=azure-iot-device-provisioning-py%2F2.14.0%283.11.7%3BLinux%29"
        ));

        let hub = |text| {
            UserName::parse(text)
                == Some(UserName::Hub {
                    hub: "contoso-hub-2.azure-devices.net".to_owned(),
                    device_id: "device-01".to_owned(),
                })
        };
        assert!(hub("contoso-hub-2.azure-devices.net/device-01/?api-version=2021-04-12"));
        assert!(hub("contoso-hub-2.azure-devices.net:8883/device-01/?api-version=2021-04-12"));
        assert!(hub(
            "contoso-hub-2.azure-devices.net/device-01/?api-version=2020-09-30&DeviceClientType=iothubclient/1.15.0%20(native%3b%20Linux)"
        ));
    }

    #[test]
    fn anything_else_is_not() {
        for text in [
            "",
            "device-01",
            "a/b",
            "a/b/c",
            "a/b/?",
            "scope/registrations/device-01?api-version=1",
            "hub/device-01/?model-id=x",
            "hub/device-01/module/?api-version=2021-04-12",
            "scope/registrations/device-01",
            "scope/registrations/device-01/ClientVersion=1",
            "/registrations/device-01/api-version=2021-06-01",
            "scope/registrations//api-version=2021-06-01",
            "/device-01/?api-version=2021-04-12",
        ] {
            assert_eq!(UserName::parse(text), None, "{text}");
        }
    }
}
