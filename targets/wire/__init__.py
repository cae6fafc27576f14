"""wire: the protocol by which a host talks to a policy that runs elsewhere (docs/wire.md), the host's side of it."""
