"""How a training's configs compare: every answer measured, tested against each other, and shown."""
