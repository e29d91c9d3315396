"""The gateways that are compared: one file each, saying how it is started and configured. See harness.process.Peer."""
