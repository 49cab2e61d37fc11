"""The AMQP 1.0 endpoint: what the Event Hubs SDKs speak, on the same log as the Kafka endpoint.

`decoding` and `encoding` know the types, `performatives` and `frames` the wire, `connection`, `session` and `links`
the protocol's state; `publisher`, `consumer`, `cbs` and `management` are the nodes a link can attach to. Bytes go in,
bytes come out: only `server` owns a socket.
"""
