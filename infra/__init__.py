"""How Darkroom is run: set-up, local services, and what deploys it elsewhere."""
