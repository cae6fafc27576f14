"""One-shot search: one training yields a family of policies; the best of them under a device's budget are proven there."""
