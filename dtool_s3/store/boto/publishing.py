"""URLs of objects, signed and public, and reading them as a stranger; owns no state."""
