"""From the challenger to the champion: the gate's figures, the verdict, promotion and rollback."""
