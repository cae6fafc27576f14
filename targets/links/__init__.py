"""links: the few functions by which any device is reached, over a shell here or there, or an agent."""
