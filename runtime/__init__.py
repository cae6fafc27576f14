"""runtime: artifact -> actions, and what was measured (sessions, latency, parity, return, report). No torch here."""
