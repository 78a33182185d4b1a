"""The gateway process: a plant over HTTP. Imports runtime, records, wire, client and store; nothing imports it."""
