"""How a device is measured: its state, pacing against deadlines, percentiles that the sample supports, hours, energy."""
