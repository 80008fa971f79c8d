// The two SDKs under the same names.
'use strict';

module.exports = (who) => {
  if (who === 'ours') {
    const sdk = require('dps-core');
    return { ...sdk, ProvisioningMqtt: sdk.Mqtt };
  }
  return {
    ...require('azure-iot-device'),
    ...require('azure-iot-device-mqtt'),
    ProvisioningMqtt: require('azure-iot-provisioning-device-mqtt').Mqtt,
    ...require('azure-iot-provisioning-device'),
    ...require('azure-iot-security-x509'),
  };
};
